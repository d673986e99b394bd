"""torch_files.py - PyTorch files with the weights of a golden, to hold the readers against each other.

Writes into OUT: views/, pytorch_model.bin and config.json as save_pretrained writes them, but with
transposed views, several tensors in one storage, and parameters; sharded/, the same in three files with
an index, where every other matrix is a transposed view; llama2c.pt, llama2.c's checkpoint with
its model_args; ckpt.pt, nanoGPT's with the names that torch.compile gives. They hold the tensors of
LLAMA/model.safetensors and NANOGPT/model.safetensors, and have to give the same logits.

    python3 tools/reference/torch_files.py tests/golden/llama-gqa tests/golden/families/nanogpt \
        tests/golden/torch
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file

LLAMA2C = {
    "model.embed_tokens.weight": "tok_embeddings.weight", "model.norm.weight": "norm.weight",
    "lm_head.weight": "output.weight", "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2", "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm", "model.layers": "layers"}


def llama2c_name(name):
    for hf, own in LLAMA2C.items():
        name = name.replace(hf, own)
    return name


def views(weights):
    """The same values: every matrix as the transpose of another, the vectors in one storage."""
    out, vectors = {}, []
    for name, w in weights.items():
        if w.dim() == 2:
            out[name] = torch.nn.Parameter(w.t().contiguous().t())
        else:
            vectors.append((name, w))
    joint, at = torch.cat([w for _, w in vectors]), 0
    for name, w in vectors:
        out[name] = joint[at:at + w.numel()]
        at += w.numel()
    return out


def pairs(w, n_heads):
    """Rows for rotating neighbours, as llama2.c has them, out of those for rotating halves."""
    return w.view(n_heads, 2, -1, w.shape[1]).transpose(1, 2).reshape(w.shape)


def llama2c_checkpoint(weights, config):
    args = dict(dim=config["hidden_size"], n_layers=config["num_hidden_layers"],
                n_heads=config["num_attention_heads"], n_kv_heads=config["num_key_value_heads"],
                vocab_size=config["vocab_size"], multiple_of=32, dropout=0.0,
                max_seq_len=config["max_position_embeddings"])
    state = {}
    for name, w in weights.items():
        if "q_proj" in name or "k_proj" in name:
            w = pairs(w, args["n_heads"] if "q_proj" in name else args["n_kv_heads"])
        state["_orig_mod." + llama2c_name(name)] = w
    state["_orig_mod.output.weight"] = state["_orig_mod.tok_embeddings.weight"]
    return {"model": state, "model_args": args, "iter_num": 7, "best_val_loss": torch.tensor(1.5),
            "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]},
            "config": {"device": "cpu", "compile": True, "out_dir": "out", "bias": None}}


def nanogpt_checkpoint(weights, config):
    args = {key: config[key] for key in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")}
    state = {"_orig_mod." + name: w for name, w in weights.items()}
    state["_orig_mod.lm_head.weight"] = state["_orig_mod.transformer.wte.weight"]
    return {"model": state, "model_args": {**args, "bias": config.get("bias", True), "dropout": 0.0},
            "iter_num": 7}


def write_shards(folder, weights, config, n=3):
    folder.mkdir(parents=True, exist_ok=True)
    where, size = {}, 0
    for i in range(n):
        name = f"pytorch_model-{i + 1:05}-of-{n:05}.bin"
        part = {}
        for k, (key, w) in enumerate(sorted(weights.items())):
            if k % n == i:
                part[key] = w.t().contiguous().t() if w.dim() == 2 and k % 2 else w.clone()
                where[key], size = name, size + w.numel() * w.element_size()
        torch.save(part, folder / name)
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (folder / "config.json").write_text(config)


def main():
    llama, nanogpt, out = map(pathlib.Path, sys.argv[1:])
    (out / "views").mkdir(parents=True, exist_ok=True)
    weights, config = load_file(llama / "model.safetensors"), (llama / "config.json").read_text()
    write_shards(out / "sharded", weights, config)
    torch.save(views(weights), out / "views" / "pytorch_model.bin")
    (out / "views" / "config.json").write_text(config)
    torch.save(llama2c_checkpoint(weights, json.loads(config)), out / "llama2c.pt")
    weights, config = load_file(nanogpt / "model.safetensors"), (nanogpt / "config.json").read_text()
    torch.save(nanogpt_checkpoint(weights, json.loads(config)), out / "ckpt.pt")


if __name__ == "__main__":
    main()
