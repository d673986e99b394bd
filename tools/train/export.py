"""Writes a checkpoint of train.py as the files that Hugging Face readers and kvass open.

config.json, generation_config.json, tokenizer.json, tokenizer_config.json, model.safetensors (bfloat16),
and beside them the loss curve.
`tiny` is a plain llama, `tiny-gpt2` a plain gpt2 (its matrices stored [in, out], q, k and v side by
side), `tiny-lean` a kvass: llama names, no k and v in layers that read another's, model.meta_tokens.weight.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from data import END
from model import Config

LLAMA = {"attn.wq": "self_attn.q_proj", "attn.wk": "self_attn.k_proj", "attn.wv": "self_attn.v_proj",
         "attn.wo": "self_attn.o_proj", "mlp.w_gate": "mlp.gate_proj", "mlp.w_up": "mlp.up_proj",
         "mlp.w_down": "mlp.down_proj", "attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
GPT2 = {"attn.wo": "attn.c_proj", "mlp.w_up": "mlp.c_fc", "mlp.w_down": "mlp.c_proj",
        "attn_norm": "ln_1", "mlp_norm": "ln_2"}


def llama_tensors(cfg, state):
    out = {"model.embed_tokens.weight": state["embed.weight"], "model.norm.weight": state["norm.weight"]}
    if cfg.n_meta:
        out["model.meta_tokens.weight"] = state["meta"]
    for name, tensor in state.items():
        if name.startswith("layers."):
            _, layer, rest = name.split(".", 2)
            part = rest.rsplit(".", 1)[0]
            out[f"model.layers.{layer}.{LLAMA[part]}.weight"] = tensor
    return out


def llama_config(cfg):
    out = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
           "hidden_size": cfg.dim, "intermediate_size": cfg.ffn_dim, "num_hidden_layers": cfg.n_layers,
           "num_attention_heads": cfg.n_heads, "num_key_value_heads": cfg.n_kv_heads, "head_dim": cfg.head_dim,
           "max_position_embeddings": cfg.n_ctx, "rms_norm_eps": cfg.norm_eps, "rope_theta": cfg.rope_theta,
           "attention_bias": False, "mlp_bias": False}
    if cfg.family == "kvass":
        kinds = ["sliding_attention" if w else "full_attention" for w in cfg.windowed]
        out.update(architectures=["KvassForCausalLM"], model_type="kvass", layer_types=kinds,
                   sliding_window=cfg.window, kv_owner=cfg.kv_owner, num_meta_tokens=cfg.n_meta)
    return out


def gpt2_tensors(cfg, state):
    out = {"transformer.wte.weight": state["embed.weight"], "transformer.wpe.weight": state["embed_pos.weight"],
           "transformer.ln_f.weight": state["norm.weight"], "transformer.ln_f.bias": state["norm.bias"]}
    for i in range(cfg.n_layers):
        ours, theirs = f"layers.{i}.", f"transformer.h.{i}."
        for kind in ("weight", "bias"):
            fused = torch.cat([state[f"{ours}attn.w{w}.{kind}"] for w in "qkv"])
            out[f"{theirs}attn.c_attn.{kind}"] = fused.t() if kind == "weight" else fused
            for part, name in GPT2.items():
                tensor = state[f"{ours}{part}.{kind}"]
                out[f"{theirs}{name}.{kind}"] = tensor.t() if tensor.dim() == 2 else tensor
    return out


def gpt2_config(cfg):
    return {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
            "n_embd": cfg.dim, "n_inner": cfg.ffn_dim, "n_layer": cfg.n_layers, "n_head": cfg.n_heads,
            "n_positions": cfg.n_ctx, "n_ctx": cfg.n_ctx, "layer_norm_epsilon": cfg.norm_eps}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="the folder that train.py wrote")
    parser.add_argument("--tokenizer", required=True, help="the tokenizer.json of pack.py")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    saved = torch.load(Path(args.checkpoint) / "checkpoint.pt", map_location="cpu")
    cfg, out = Config(**saved["config"]), Path(args.out)
    tensors, config = ((gpt2_tensors, gpt2_config) if cfg.family == "gpt2" else (llama_tensors, llama_config))
    shared = {"vocab_size": cfg.n_vocab, "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0,
              "torch_dtype": "bfloat16"}
    out.mkdir(parents=True, exist_ok=True)
    named = {k: v.to(torch.bfloat16).contiguous() for k, v in sorted(tensors(cfg, saved["state"]).items())}
    save_file(named, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    for name, content in {
        "config.json": {**config(cfg), **shared},
        "generation_config.json": {"bos_token_id": 0, "eos_token_id": 0, "do_sample": True,
                                   "temperature": 0.6, "top_p": 0.95, "top_k": 40,
                                   "repetition_penalty": 1.1},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END,
                                  "eos_token": END, "model_max_length": cfg.n_ctx,
                                  "clean_up_tokenization_spaces": False},
    }.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n")
    tokenizer = json.loads(Path(args.tokenizer).read_text())
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")) + "\n")
    shutil.copy(Path(args.checkpoint) / "curve.csv", out / "curve.csv")
    size = sum(f.stat().st_size for f in out.iterdir())
    print(f"{out}: {len(named)} tensors, {sum(t.numel() for t in named.values())} parameters, {size} bytes")


if __name__ == "__main__":
    main()
