"""make_goldens.py - tiny random checkpoints and the logits transformers gives for them.

  python make_goldens.py [--shared DIR] [--out ../../tests/golden] [NAME...]

Each folder holds a checkpoint and logits.bin (golden.py). The network runs in float64 as far as
transformers lets it: rotations, RMSNorm and their constants stay in its float32. Printed for each
folder, in standard deviations of the logits: how far transformers in float32 and the float64 oracle
are from what is written. --shared adds goldens for the checkpoints that are not kept here.
"""
import argparse
import json
import pathlib
import shutil
import zlib

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import (AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig,
                          LlamaForCausalLM)
from transformers.utils.logging import disable_progress_bar

import golden
import llama2c
import oracle
import stories

disable_progress_bar()

LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}


def llama(dim, heads, kv, ffn, vocab, layers=2, tied=True, theta=10000.0, rope=None, **more):
    rope = {"rope_theta": theta, **(rope or {"rope_type": "default"})}
    more.setdefault("rms_norm_eps", 1e-5)
    return LlamaConfig(hidden_size=dim, num_attention_heads=heads, num_key_value_heads=kv,
                       intermediate_size=ffn, vocab_size=vocab, num_hidden_layers=layers,
                       tie_word_embeddings=tied, rope_parameters=rope, max_position_embeddings=256,
                       bos_token_id=1, eos_token_id=2, **more)


def gpt2(dim, heads, vocab, layers=2, inner=None, **more):
    return GPT2Config(n_embd=dim, n_head=heads, vocab_size=vocab, n_layer=layers, n_inner=inner,
                      n_positions=golden.N_TOKENS, bos_token_id=0, eos_token_id=0, **more)


# name: (config, options). dtype, save: how it is stored; old: config.json in the terms of
# transformers 4; bare: tensor names without "transformer."; llama2c: also as these files, (name,
# version), of which v2-gN has groups of N; only: nothing but those files is kept
MODELS = {
    "llama-mha": (llama(32, 4, 4, 64, 47), {"llama2c": [("v2-g32.bin", 2)]}),
    "llama-gqa": (llama(32, 8, 2, 56, 61), {"llama2c": [("v1.bin", 1)]}),
    "llama-bias": (llama(24, 4, 2, 40, 67, 3, attention_bias=True, mlp_bias=True), {}),
    "llama-untied": (llama(28, 2, 1, 36, 59, tied=False), {"llama2c": [("v0.bin", 0)]}),
    "llama-theta": (llama(40, 5, 1, 44, 53, theta=5e5, rms_norm_eps=1e-3), {}),
    "llama-theta-old": (llama(24, 3, 3, 40, 53, theta=5e5), {"old": True}),
    "llama-rope3": (llama(32, 2, 1, 40, 53, theta=5e5, rope=LLAMA3), {}),
    "llama-rope3-old": (llama(32, 4, 2, 40, 53, rope=LLAMA3), {"old": True}),
    "llama-linear": (llama(24, 2, 2, 40, 53, rope={"rope_type": "linear", "factor": 2.5}), {}),
    "llama-head-dim": (llama(24, 4, 2, 40, 53, head_dim=10), {}),
    "llama-bf16": (llama(32, 4, 2, 56, 61), {"dtype": torch.bfloat16}),
    "llama-f16": (llama(32, 4, 2, 56, 61, tied=False), {"dtype": torch.float16}),
    "llama-sharded": (llama(32, 4, 2, 48, 53), {"save": {"max_shard_size": "20KB"}}),
    "llama-q8": (llama(64, 4, 2, 64, 48, tied=False),
                 {"llama2c": [("v2-g64.bin", 2)], "only": True}),
    "gpt2": (gpt2(24, 3, 61), {}),
    "gpt2-odd": (gpt2(30, 5, 53, inner=44, layer_norm_epsilon=1e-3), {"bare": True}),
}


def fill(model, rng):
    """Weights large enough that attention is uneven and logits are far apart; no bias is 0, no
    norm weight is 1."""
    for name, p in sorted(model.named_parameters()):
        x = rng.standard_normal(tuple(p.shape))
        if name.endswith("bias"):
            x *= 0.3
        elif p.dim() == 1:
            x = 1 + 0.3 * x
        elif "wpe" in name:
            x *= 0.5
        elif not any(part in name for part in ("embed", "wte", "lm_head")):
            n_in = p.shape[0] if "c_" in name else p.shape[1]  # Conv1D is [n_in, n_out]
            out = any(part in name for part in ("o_proj", "down", "c_proj"))
            x *= (0.8 if out else 1.3) / n_in ** 0.5
        p.data = torch.from_numpy(x).to(p.dtype)


def run(model, ids):
    """(logits[n, n_vocab], residual[n_layers, n, dim])"""
    layers = model.model.layers if hasattr(model, "model") else model.transformer.h
    seen = []
    keep = lambda _, __, out: seen.append((out[0] if isinstance(out, tuple) else out)[0].numpy())
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    with torch.no_grad():
        logits = model.eval()(torch.tensor(ids[None].astype(np.int64))).logits[0].numpy()
    for hook in hooks:
        hook.remove()
    return logits, [r.reshape(len(ids), -1) for r in seen]


def load(path, dtype):
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")


def old_terms(path):
    """rope_parameters -> rope_theta + rope_scaling, dtype -> torch_dtype"""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save(folder, config, options, seed):
    make = LlamaForCausalLM if isinstance(config, LlamaConfig) else GPT2LMHeadModel
    model = make(config)
    fill(model, np.random.default_rng(seed))
    model = model.to(options.get("dtype", torch.float32))
    bare = model.transformer if options.get("bare") else model
    bare.save_pretrained(folder, **options.get("save", {}))
    (folder / "generation_config.json").unlink(missing_ok=True)
    if options.get("old"):
        old_terms(folder / "config.json")


def weights_of(folder):
    """Everything the folder's safetensors files hold, in float64."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(path))
    return {name: t.double().numpy() for name, t in tensors.items()}


def export(folder, config, options, ids):
    """The same network as llama2.c files; quantized ones get a golden of their own."""
    for name, version in options.get("llama2c", []):
        dims = config.to_dict()
        group = int(name[4:-4]) if version == 2 else 0
        seen = llama2c.write_model(folder / name, dims, weights_of(folder), version, group)
        again, weights = llama2c.read_model(folder / name)
        assert all(np.array_equal(weights[k], seen[k]) for k in seen), name
        model = load(folder, torch.float64)
        model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(w)).double()
                               for k, w in seen.items()}, strict=False)
        logits, residual = run(model, ids)
        if version == 2:
            golden.write(folder / (name[:-4] + ".logits.bin"), ids, logits, residual,
                         config.vocab_size)
        far = golden.worst(oracle.Llama(again, weights).step(ids)[0], logits)
        print(f"  {name:22} {'':14} oracle {far:.1e}")


def make(name, out, seed):
    config, options = MODELS[name]
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    save(folder, config, options, seed)
    ids = golden.random_ids(np.random.default_rng(seed + 1), config.vocab_size)
    logits, residual = run(load(folder, torch.float64), ids)
    golden.write(folder / "logits.bin", ids, logits, residual, config.vocab_size)
    far = f"float32 {golden.worst(run(load(folder, torch.float32), ids)[0], logits):.1e}"
    if isinstance(config, LlamaConfig):
        config_json = json.loads((folder / "config.json").read_text())
        again = oracle.Llama(config_json, weights_of(folder)).step(ids)[0]
        far += f"  oracle {golden.worst(again, logits):.1e}"
    print(f"{name:24} {far}  std {logits.std():.2f}")
    export(folder, config, options, ids)
    if options.get("only"):  # the safetensors form is not kept
        for path in (*folder.glob("*.json"), *folder.glob("*.safetensors"), folder / "logits.bin"):
            path.unlink()


def make_shared(shared, out):
    """gpt2-chains: random ids, all logits. stories260K: its greedy text, every 8th logit."""
    (out / "shared").mkdir(parents=True, exist_ok=True)
    ids = golden.random_ids(np.random.default_rng(1), 53)
    logits, residual = run(load(shared / "models/gpt2-chains", torch.float64), ids)
    golden.write(out / "shared/gpt2-chains.logits.bin", ids, logits, residual, 53)
    config, weights = llama2c.read_model(shared / "models/stories260K/stories260K.bin")
    ids = np.array(stories.greedy(oracle.Llama(config, weights), golden.N_TOKENS - 1), np.int32)
    logits, residual = oracle.Llama(config, weights).step(ids)
    golden.write(out / "shared/stories260K.logits.bin", ids, logits[:, ::8], residual, 512)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--shared", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).parents[2] / "tests/golden")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.names or MODELS:
        make(name, args.out, zlib.crc32(name.encode()))
    if args.shared:
        make_shared(args.shared, args.out)


if __name__ == "__main__":
    main()
