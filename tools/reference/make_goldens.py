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
import transformers as T
from safetensors.torch import load_file
from transformers import GPT2Config, LlamaConfig
from transformers.utils.logging import disable_progress_bar

import golden
import llama2c
import oracle
import stories
from families import load, run, save

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


# name: (config, options). Options are those of families.py, and: llama2c: also as these files,
# (name, version), of which v2-gN has groups of N; only: nothing but those files is kept
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

FAMILY_TOKENS, FAMILY_COLUMNS = 300, 12
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.5}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
        "original_max_position_embeddings": 64}
HALF, BRAIN = {"dtype": torch.float16}, {"dtype": torch.bfloat16}


def keys(dim, heads, kv=None, layers=2, **more):
    """What most configurations have in common."""
    made = {"hidden_size": dim, "num_attention_heads": heads, "num_hidden_layers": layers,
            "vocab_size": 48, "intermediate_size": 32, "max_position_embeddings": 320,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **more}
    return {**made, "num_key_value_heads": kv} if kv else made


def default(**more):
    return {"rope_type": "default", "rope_theta": 1e4, **more}


def long(n_pairs):
    return default(rope_type="longrope", short_factor=[1 + 0.1 * i for i in range(n_pairs)],
                   long_factor=[1.5 + i for i in range(n_pairs)])


def gpt_neo(heads, dim, window):
    return T.GPTNeoConfig(hidden_size=dim, num_layers=2, num_heads=heads, vocab_size=48,
                          intermediate_size=32, max_position_embeddings=320, window_size=window,
                          attention_types=[[["global", "local"], 1]], bos_token_id=1, eos_token_id=2)


def small_gpt2(act, tied):
    return GPT2Config(n_embd=21, n_head=3, vocab_size=48, n_layer=2, n_positions=320,
                      activation_function=act, tie_word_embeddings=tied, bos_token_id=0,
                      eos_token_id=0)


# The same for the other families, kept small: 300 positions, every fourth logit.
FAMILIES = {
    "gpt_neo": (gpt_neo(3, 24, 40), HALF),
    "gpt_neox": (T.GPTNeoXConfig(**keys(27, 3), rope_parameters=default(partial_rotary_factor=0.25)),
                 HALF),
    "gpt_neox-serial": (T.GPTNeoXConfig(**keys(24, 2), use_parallel_residual=False,
                                        rope_parameters=default(partial_rotary_factor=0.5)),
                        {"old": True, **BRAIN}),
    "opt": (T.OPTConfig(**keys(20, 4), ffn_dim=32, word_embed_proj_dim=20), {}),
    "mistral": (T.MistralConfig(**keys(24, 4, 2), sliding_window=50, rope_parameters=default()),
                HALF),
    "qwen2": (T.Qwen2Config(**keys(24, 4, 1), use_sliding_window=True, sliding_window=33,
                            max_window_layers=1, rope_parameters=dict(YARN)), {"old": True, **BRAIN}),
    "qwen3": (T.Qwen3Config(**keys(24, 4, 2), head_dim=10, tie_word_embeddings=True,
                            rope_parameters=default(rope_theta=1e6)), HALF),
    "smollm3": (T.SmolLM3Config(**keys(20, 2, 1, 3), no_rope_layer_interval=2,
                                use_sliding_window=True, sliding_window=64,
                                rope_parameters=default(rope_theta=5e5)), HALF),
    "granite": (T.GraniteConfig(**keys(24, 3, 1), embedding_multiplier=6.0, logits_scaling=4.0,
                                residual_multiplier=0.4, attention_multiplier=0.2,
                                attention_bias=True, rope_parameters=default()), HALF),
    "gemma": (T.GemmaConfig(**keys(27, 2, 1), head_dim=12, rope_parameters=default()),
              {"cast": torch.bfloat16, "old": True, **BRAIN}),
    "gemma2": (T.Gemma2Config(**keys(24, 4, 2, 3), head_dim=8, query_pre_attn_scalar=6,
                              sliding_window=33, attn_logit_softcapping=4.0,
                              final_logit_softcapping=10.0, rope_parameters=default()),
               {"cast": torch.float16, **HALF}),
    "gemma3_text": (T.Gemma3TextConfig(**keys(24, 3, 1, 3), head_dim=8, query_pre_attn_scalar=8,
                                       sliding_window=40,
                                       rope_parameters={"full_attention": {**LINEAR, "rope_theta": 1e6},
                                                        "sliding_attention": default()}),
                    {"cast": torch.float16, "old": True, **HALF}),
    "gemma3_text-new": (T.Gemma3TextConfig(**keys(24, 2, 2), head_dim=10, query_pre_attn_scalar=10,
                                           sliding_window=7,
                                           layer_types=["full_attention", "sliding_attention"]),
                        {"cast": torch.float16, **HALF}),
    "phi": (T.PhiConfig(**keys(20, 4, 2), qk_layernorm=True,
                        rope_parameters=default(partial_rotary_factor=0.4)), HALF),
    "phi3": (T.Phi3Config(**keys(32, 4, 2), original_max_position_embeddings=64,
                          rope_parameters=long(4)), HALF),
    "phi3-short": (T.Phi3Config(**keys(32, 2, 1), original_max_position_embeddings=300,
                                sliding_window=60,
                                rope_parameters={**long(4), "partial_rotary_factor": 0.5}),
                   {"old": True, **HALF}),
    "stablelm": (T.StableLmConfig(**keys(27, 3, 1), qk_layernorm=True, use_parallel_residual=True,
                                  rope_parameters=default(partial_rotary_factor=0.25)), HALF),
    "stablelm-serial": (T.StableLmConfig(**keys(24, 2, 2), use_qkv_bias=True,
                                         rope_parameters=default(partial_rotary_factor=0.5)),
                        {"old": True, **HALF}),
    "olmo2": (T.Olmo2Config(**keys(24, 4, 2), rope_parameters=dict(YARN)), HALF),
    "starcoder2": (T.Starcoder2Config(**keys(24, 4, 1), sliding_window=70, rope_parameters=default()),
                   HALF),
    # these say nothing that GGUF files cannot say
    "qwen2-plain": (T.Qwen2Config(**keys(24, 4, 1), rope_parameters=dict(YARN)), BRAIN),
    "smollm3-plain": (T.SmolLM3Config(**keys(20, 2, 1, 5), rope_parameters=default(rope_theta=5e5)),
                      HALF),
    "gemma2-plain": (T.Gemma2Config(**keys(24, 4, 2, 3), head_dim=8, query_pre_attn_scalar=8,
                                    sliding_window=33, attn_logit_softcapping=4.0,
                                    final_logit_softcapping=10.0, rope_parameters=default()),
                     {"cast": torch.float16, **HALF}),
    "phi-plain": (T.PhiConfig(**keys(20, 4, 2), rope_parameters=default(partial_rotary_factor=0.4)),
                  HALF),
    "nanogpt": (small_gpt2("gelu", True), {"nano": "nanogpt", "bias": False, **HALF}),
    "mingpt": (small_gpt2("gelu_new", False), {"nano": "mingpt", "bias": True, **HALF}),
}


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


def make_family(name, out, seed):
    config, options = FAMILIES[name]
    folder = out / "families" / name
    shutil.rmtree(folder, ignore_errors=True)
    model = save(folder, config, options, seed)
    ids = golden.random_ids(np.random.default_rng(seed + 1), 48, FAMILY_TOKENS)
    logits, residual = run(load(folder, torch.float64, options, model), ids)
    near = run(load(folder, torch.float32, options, model), ids)[0]
    marks = [0, 31, 32, FAMILY_TOKENS - 1]
    golden.write(folder / "logits.bin", ids, logits[:, ::48 // FAMILY_COLUMNS], residual, 48, marks)
    print(f"families/{name:15} float32 {golden.worst(near, logits):.1e}  std {logits.std():.2f}")


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
    for name in args.names or [*MODELS, *FAMILIES]:
        (make if name in MODELS else make_family)(name, args.out, zlib.crc32(name.encode()))
    if args.shared:
        make_shared(args.shared, args.out)


if __name__ == "__main__":
    main()
