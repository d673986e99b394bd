"""gguf_goldens.py - writes the checkpoints of tests/golden/families again as GGUF files, by the
conventions of llama.cpp's converter and with the writer of the `gguf` package.

    python gguf_goldens.py [--golden ../../tests/golden] [NAME...]

Weights and logits are those that make_goldens.py wrote: what a file of the other kind must give.
Families whose files there say something that no GGUF file can say are left out.
"""
import argparse
import json
import math
import pathlib

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

LLAMA = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
POST = {"post_attention_layernorm": "post_attention_norm",
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm"}
NEOX = {
    "gpt_neox.embed_in": "token_embd", "gpt_neox.final_layer_norm": "output_norm",
    "embed_out": "output", "input_layernorm": "attn_norm",
    "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
}
GPT2 = {
    "wte": "token_embd", "wpe": "position_embd",
    "ln_f": "output_norm", "ln_1": "attn_norm", "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}

TYPES = {torch.float32: gguf.GGMLQuantizationType.F32, torch.float16: gguf.GGMLQuantizationType.F16,
         torch.bfloat16: gguf.GGMLQuantizationType.BF16}

# model_type -> architecture, names, whether q and k rows are reordered to rotate neighbours
ARCHS = {
    "llama": ("llama", LLAMA, True), "mistral": ("llama", LLAMA, True),
    "qwen2": ("qwen2", LLAMA, False), "qwen3": ("qwen3", LLAMA, False),
    "smollm3": ("smollm3", LLAMA, True), "granite": ("granite", LLAMA, True),
    "gemma": ("gemma", LLAMA, False), "gemma2": ("gemma2", LLAMA | POST, False),
    "gemma3_text": ("gemma3", LLAMA | POST, False), "olmo2": ("olmo2", LLAMA | POST, False),
    "phi": ("phi2", LLAMA | {"model.final_layernorm": "output_norm",
                             "self_attn.dense": "attn_output", "mlp.fc1": "ffn_up",
                             "mlp.fc2": "ffn_down"}, False),
    "phi3": ("phi3", LLAMA | {"self_attn.qkv_proj": "attn_qkv",
                              "mlp.gate_up_proj": "ffn_up"}, False),
    "stablelm": ("stablelm", LLAMA, False),
    "starcoder2": ("starcoder2", LLAMA | {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}, False),
    "gpt_neox": ("gptneox", NEOX, False), "gpt2": ("gpt2", GPT2, False),
}


def rename(name, names):
    stem, ending = name.removeprefix("transformer.").rsplit(".", 1)
    if stem in names:
        return f"{names[stem]}.{ending}"
    parts = stem.split(".")
    layer = next(i for i, p in enumerate(parts) if p.isdigit())
    return f"blk.{parts[layer]}.{names['.'.join(parts[layer + 1:])]}.{ending}"


def neighbours(w, n_heads):
    """Rows of each head from halves to neighbours."""
    return w.reshape(n_heads, 2, -1, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def convert(config, name, w, pairs):
    kind, heads = config["model_type"], config.get("num_attention_heads", config.get("n_head"))
    if pairs and "q_proj" in name:
        return neighbours(w, heads)
    if pairs and "k_proj" in name:
        return neighbours(w, config.get("num_key_value_heads") or heads)
    if kind.startswith("gemma") and name.endswith("norm.weight"):
        return w + 1
    if kind == "gpt_neox" and "query_key_value" in name:
        rest = w.shape[1:]
        return w.reshape(heads, 3, -1, *rest).swapaxes(0, 1).reshape(w.shape)
    if kind == "gpt2" and w.ndim == 2 and "h." in name:
        return w.T
    return w


def write_keys(out, c):
    kind = c["model_type"]
    heads = c.get("num_attention_heads", c.get("n_head"))
    dim = c.get("hidden_size", c.get("n_embd"))
    rope = (c.get("rope_parameters") or {}) | (c.get("rope_scaling") or {})
    full = rope.get("full_attention", rope)
    head_dim = c.get("head_dim") or dim // heads
    out.add_block_count(c.get("num_hidden_layers", c.get("n_layer")))
    out.add_context_length(c.get("max_position_embeddings", c.get("n_positions")))
    out.add_embedding_length(dim)
    out.add_feed_forward_length(c.get("intermediate_size") or c.get("n_inner") or 4 * dim)
    out.add_head_count(heads)
    if c.get("num_key_value_heads"):
        out.add_head_count_kv(c["num_key_value_heads"])
    if c.get("head_dim"):
        out.add_key_length(head_dim)
        out.add_value_length(head_dim)
    if "rms_norm_eps" in c:
        out.add_layer_norm_rms_eps(c["rms_norm_eps"])
    else:
        out.add_layer_norm_eps(c.get("layer_norm_eps") or c.get("norm_epsilon")
                               or c["layer_norm_epsilon"])
    if kind != "gpt2":
        out.add_rope_freq_base(full.get("rope_theta") or c.get("rope_theta")
                               or c.get("rotary_emb_base"))
        part = (full.get("partial_rotary_factor") or c.get("partial_rotary_factor")
                or c.get("rotary_pct") or 1)
        out.add_rope_dimension_count(int(head_dim * part))
    if full.get("rope_type") in ("linear", "yarn"):
        out.add_rope_scaling_type(gguf.RopeScalingType(full["rope_type"]))
        out.add_rope_scaling_factor(full["factor"])
    if full.get("rope_type") == "yarn":
        out.add_rope_scaling_orig_ctx_len(full["original_max_position_embeddings"])
    if c.get("sliding_window_pattern"):
        out.add_sliding_window_pattern(c["sliding_window_pattern"])
    if "use_parallel_residual" in c:
        out.add_parallel_residual(c["use_parallel_residual"])
    if kind in ("gemma2", "gemma3_text", "phi3", "mistral", "starcoder2") and c.get("sliding_window"):
        out.add_sliding_window(c["sliding_window"])
    if kind == "gemma2":
        out.add_attn_logit_softcapping(c["attn_logit_softcapping"])
        out.add_final_logit_softcapping(c["final_logit_softcapping"])
    if kind == "granite":
        out.add_attention_scale(c["attention_multiplier"])
        out.add_embedding_scale(c["embedding_multiplier"])
        out.add_residual_scale(c["residual_multiplier"])
        out.add_logit_scale(c["logits_scaling"])
    return full, head_dim


def llama3_factors(rope, head_dim):
    """What each frequency is divided by, as the converter writes it into rope_freqs."""
    freq = rope["rope_theta"] ** -(np.arange(0, head_dim, 2) / head_dim)
    turns = rope["original_max_position_embeddings"] * freq / (2 * np.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = (turns - low) / (high - low)
    middle = 1 / ((1 - smooth) / rope["factor"] + smooth)
    return np.where(turns < low, rope["factor"], np.where(turns > high, 1, middle))


def write(folder):
    c = json.loads((folder / "config.json").read_text())
    arch, names, pairs = ARCHS[c["model_type"]]
    out = gguf.GGUFWriter(folder / "model.gguf", arch)
    rope, head_dim = write_keys(out, c)
    if rope.get("rope_type") == "llama3":
        out.add_tensor("rope_freqs.weight", llama3_factors(rope, head_dim).astype(np.float32))
    if rope.get("rope_type") == "longrope":
        original = rope["original_max_position_embeddings"]
        stretch = max(c["max_position_embeddings"] / original, 1)
        out.add_rope_scaling_orig_ctx_len(original)
        out.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(stretch) / math.log(original)))
        for size in ("long", "short"):
            out.add_tensor(f"rope_factors_{size}.weight",
                           np.array(rope[f"{size}_factor"], np.float32))
    weights = load_file(folder / "model.safetensors")
    tied = c.get("tie_word_embeddings")
    for name, w in weights.items():
        if name == "lm_head.weight" and tied:
            continue
        kind = TYPES[w.dtype] if w.ndim > 1 else gguf.GGMLQuantizationType.F32
        w = np.ascontiguousarray(convert(c, name, w.float().numpy(), pairs))
        out.add_tensor(rename(name, names), gguf.quantize(w, kind), raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--golden", type=pathlib.Path,
                   default=pathlib.Path(__file__).parents[2] / "tests/golden")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    for name in a.names:
        write(a.golden / name)
        print(name)


if __name__ == "__main__":
    main()
