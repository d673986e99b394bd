"""families.py - random networks of every family, and how each is filled, saved and run.

draw(family, rng) -> (label, config, options): one network, with everything that the family may
vary. Options: dtype, how it is stored; old: config.json in the terms of transformers 4; bare:
tensor names without their prefix; nano: written as nanoGPT or minGPT write it; save: for
save_pretrained; cast: a float type whose precision a factor outside the weights has.
"""
import json

import numpy as np
import torch
import transformers as T
from safetensors.torch import save_file

N_CTX = 512  # positions that are trained


def picker(rng):
    return lambda *choices: choices[rng.integers(len(choices))]


def chance(rng, p=0.5):
    return bool(rng.random() < p)


def shape(rng, head_dims=(2, 4, 6, 8, 10, 16, 20, 34), grouped=True):
    """(heads, kv heads, head_dim, dim of heads that fit)"""
    pick = picker(rng)
    kv = pick(1, 1, 2, 3)
    heads = kv * pick(1, 2, 3, 4)
    head_dim = pick(*head_dims)
    return heads, kv if grouped else heads, head_dim, heads * head_dim


def common(rng, dim, heads, kv=None, **more):
    pick = picker(rng)
    keys = {"hidden_size": dim, "num_attention_heads": heads, "vocab_size": pick(33, 64, 97, 300),
            "num_hidden_layers": pick(1, 2, 3, 4), "intermediate_size": pick(5, 32, 64, 88, 131),
            "max_position_embeddings": N_CTX, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if kv:
        keys["num_key_value_heads"] = kv
    return {**keys, **more}


def rope(rng, kinds=("default", "default", "linear", "llama3", "yarn"), **more):
    """rope_parameters of any kind"""
    pick = picker(rng)
    kind = pick(*kinds)
    made = {"rope_type": kind, "rope_theta": pick(1e4, 5e5, 1e6, 321.5), **more}
    if kind in ("linear", "llama3", "yarn", "dynamic"):
        made["factor"] = pick(1.5, 4.0, 8.0)
    if kind in ("llama3", "yarn"):
        made["original_max_position_embeddings"] = pick(32, 64, 128)
    if kind == "llama3":
        made.update(low_freq_factor=1.0, high_freq_factor=4.0)
    if kind == "yarn" and chance(rng):
        made.update(beta_fast=pick(16.0, 32.0), beta_slow=pick(0.5, 1.0), truncate=chance(rng))
    if kind == "yarn" and chance(rng, 0.3):
        made.update(mscale=1.0, mscale_all_dim=pick(0.7, 1.0))
    elif kind == "yarn" and chance(rng, 0.3):
        made["attention_factor"] = 1.2
    return made


def layer_types(rng, n_layers):
    return [picker(rng)("sliding_attention", "full_attention") for _ in range(n_layers)]


def window(rng):
    return picker(rng)(1, 7, 32, 64, 100, 256)


def mistral(rng):
    heads, kv, head_dim, dim = shape(rng)
    more = {"head_dim": head_dim} if chance(rng) else {}
    dim = heads * picker(rng)(3, 8, 11) if more else dim
    return T.MistralConfig(**common(rng, dim, heads, kv), **more, rope_parameters=rope(rng),
                           sliding_window=picker(rng)(None, window(rng), window(rng)),
                           tie_word_embeddings=chance(rng), rms_norm_eps=picker(rng)(1e-6, 1e-3))


def qwen(rng, make, **more):
    heads, kv, _, dim = shape(rng)
    keys = common(rng, dim, heads, kv)
    if chance(rng, 0.6):
        more.update(use_sliding_window=True, sliding_window=window(rng),
                    max_window_layers=picker(rng)(0, 1, 2))
    return make(**keys, rope_parameters=rope(rng), tie_word_embeddings=chance(rng), **more)


def qwen2(rng):
    return qwen(rng, T.Qwen2Config)


def qwen3(rng):
    return qwen(rng, T.Qwen3Config, head_dim=picker(rng)(4, 6, 8, 16, 34), attention_bias=chance(rng))


def smollm3(rng):
    heads, kv, _, dim = shape(rng)
    keys = common(rng, dim, heads, kv, num_hidden_layers=picker(rng)(2, 4, 5))
    more = {"no_rope_layer_interval": picker(rng)(2, 3, 4)} if chance(rng) else {
        "no_rope_layers": [int(chance(rng)) for _ in range(keys["num_hidden_layers"])]}
    if chance(rng):
        more.update(use_sliding_window=True, sliding_window=window(rng))
    return T.SmolLM3Config(**keys, **more, rope_parameters=rope(rng), tie_word_embeddings=chance(rng),
                           attention_bias=chance(rng, 0.3), mlp_bias=chance(rng, 0.3))


def granite(rng):
    heads, kv, head_dim, dim = shape(rng)
    pick = picker(rng)
    return T.GraniteConfig(**common(rng, dim, heads, kv), rope_parameters=rope(rng),
                           embedding_multiplier=pick(1.0, 2.0, 12.0),
                           residual_multiplier=pick(0.22, 0.5, 1.0), logits_scaling=pick(1.0, 4.0, 8),
                           attention_multiplier=pick(0.2, 0.5) / head_dim ** 0.5,
                           tie_word_embeddings=chance(rng), attention_bias=chance(rng, 0.3),
                           mlp_bias=chance(rng, 0.3))


def gemma(rng):
    heads, kv, head_dim, _ = shape(rng)
    dim = picker(rng)(12, 27, 40)
    return T.GemmaConfig(**common(rng, dim, heads, kv), head_dim=head_dim, rope_parameters=rope(rng),
                         hidden_act=picker(rng)("gelu", "gelu_pytorch_tanh"),
                         tie_word_embeddings=chance(rng, 0.8))


def gemma2(rng):
    heads, kv, head_dim, _ = shape(rng)
    keys = common(rng, heads * picker(rng)(6, 9, 12), heads, kv)
    pick = picker(rng)
    more = {"layer_types": layer_types(rng, keys["num_hidden_layers"])} if chance(rng, 0.4) else {}
    return T.Gemma2Config(**keys, **more, head_dim=head_dim, rope_parameters=rope(rng),
                          query_pre_attn_scalar=pick(4, head_dim, 24), sliding_window=window(rng),
                          final_logit_softcapping=pick(None, 10.0, 30.0),
                          attn_logit_softcapping=pick(None, 1.5, 5.0, 50.0),
                          attention_bias=chance(rng, 0.2))


def gemma3_text(rng):
    heads, kv, head_dim, _ = shape(rng)
    n_layers = picker(rng)(1, 3, 6, 7)
    keys = common(rng, heads * picker(rng)(6, 9, 12), heads, kv, num_hidden_layers=n_layers)
    more = {"layer_types": layer_types(rng, n_layers)} if chance(rng, 0.4) else {}
    both = {"full_attention": rope(rng, ("default", "linear", "llama3", "yarn")),
            "sliding_attention": {"rope_type": "default", "rope_theta": picker(rng)(1e4, 500.0)}}
    return T.Gemma3TextConfig(**keys, **more, head_dim=head_dim, rope_parameters=both,
                              query_pre_attn_scalar=picker(rng)(head_dim, 24),
                              sliding_window=window(rng),
                              final_logit_softcapping=picker(rng)(None, None, 30.0))


def phi(rng):
    heads, kv, head_dim, dim = shape(rng, (4, 5, 8, 10, 20))
    part = {4: 0.5, 5: 0.4, 8: 0.5, 10: 0.4, 20: 0.4}[head_dim]
    return T.PhiConfig(**common(rng, dim, heads, kv), qk_layernorm=chance(rng),
                       rope_parameters=rope(rng, partial_rotary_factor=part),
                       hidden_act=picker(rng)("gelu_new", "gelu", "relu"))


def phi3(rng):
    heads, kv, head_dim, dim = shape(rng, (4, 8, 16, 20))
    part = picker(rng)(1.0, 0.5)
    n_pairs = int(head_dim * part) // 2
    made = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": part}
    original = N_CTX
    if chance(rng, 0.7):
        original = picker(rng)(64, 128, 300, 301, 400)
        made.update(rope_type="longrope", short_factor=list(1 + rng.random(n_pairs).round(3)),
                    long_factor=list(1 + 8 * rng.random(n_pairs).round(3)))
    return T.Phi3Config(**common(rng, dim, heads, kv), rope_parameters=made,
                        original_max_position_embeddings=original,
                        sliding_window=picker(rng)(None, window(rng)), tie_word_embeddings=chance(rng))


def stablelm(rng):
    heads, kv, _, dim = shape(rng, (8, 9, 16, 24))
    return T.StableLmConfig(**common(rng, dim, heads, kv), use_qkv_bias=chance(rng),
                            qk_layernorm=chance(rng), use_parallel_residual=chance(rng),
                            rope_parameters=rope(rng, partial_rotary_factor=picker(rng)(0.25, 0.5)),
                            tie_word_embeddings=chance(rng))


def olmo2(rng):
    heads, kv, _, dim = shape(rng)
    return T.Olmo2Config(**common(rng, dim, heads, kv), rope_parameters=rope(rng),
                         attention_bias=chance(rng, 0.3), tie_word_embeddings=chance(rng),
                         rms_norm_eps=picker(rng)(1e-5, 1e-3))


def starcoder2(rng):
    heads, kv, _, dim = shape(rng)
    return T.Starcoder2Config(**common(rng, dim, heads, kv), rope_parameters=rope(rng),
                              sliding_window=picker(rng)(None, window(rng)),
                              use_bias=chance(rng, 0.7), tie_word_embeddings=chance(rng))


def gpt_neo(rng):
    heads, _, head_dim, dim = shape(rng, (3, 5, 8, 16), grouped=False)
    keys = common(rng, dim, heads)
    n_layers = keys.pop("num_hidden_layers")
    del keys["num_attention_heads"]
    kinds = [picker(rng)("global", "local") for _ in range(n_layers)]
    types = [[["global", "local"], n_layers // 2]] if n_layers % 2 == 0 and chance(rng) else \
        [[kinds[:1], 1], [kinds[1:], 1]] if n_layers > 1 else [[kinds, 1]]
    return T.GPTNeoConfig(**keys, num_layers=n_layers, num_heads=heads, attention_types=types,
                          window_size=window(rng))


def gpt_neox(rng):
    heads, _, _, dim = shape(rng, (8, 9, 16, 24), grouped=False)
    return T.GPTNeoXConfig(**common(rng, dim, heads), use_parallel_residual=chance(rng, 0.6),
                           rope_parameters=rope(rng, partial_rotary_factor=picker(rng)(0.25, 0.5)),
                           attention_bias=chance(rng, 0.8), hidden_act=picker(rng)("gelu", "gelu_new"),
                           tie_word_embeddings=chance(rng, 0.3))


def opt(rng):
    heads, _, _, dim = shape(rng, (3, 5, 8, 16), grouped=False)
    keys = common(rng, dim, heads)
    return T.OPTConfig(ffn_dim=keys.pop("intermediate_size"), **keys, enable_bias=chance(rng, 0.7),
                       activation_function=picker(rng)("relu", "gelu"))


def gpt2(rng):
    pick = picker(rng)
    heads = pick(1, 2, 3, 5, 8)
    return T.GPT2Config(n_embd=heads * pick(1, 3, 6, 8, 16, 33), n_head=heads,
                        vocab_size=pick(33, 64, 97, 300), n_layer=pick(1, 2, 3, 5), n_positions=N_CTX,
                        n_inner=pick(None, 7, 64, 130), layer_norm_epsilon=pick(1e-6, 1e-5, 1e-3),
                        scale_attn_by_inverse_layer_idx=chance(rng, 0.2), bos_token_id=0, eos_token_id=0)


def nanogpt(rng):
    config = gpt2(rng)
    config.n_inner, config.layer_norm_epsilon = None, 1e-5
    config.scale_attn_by_inverse_layer_idx = False
    mingpt = chance(rng, 0.3)
    config.activation_function = "gelu_new" if mingpt else "gelu"
    config.tie_word_embeddings = not mingpt
    return config


def llama(rng):
    heads, kv, head_dim, dim = shape(rng, (2, 4, 6, 8, 10, 16, 20, 32, 34, 64))
    more = {"head_dim": head_dim} if chance(rng) else {}
    dim = heads * picker(rng)(1, 3, 5, 8, 11) if more else dim
    return T.LlamaConfig(**common(rng, dim, heads, kv), **more, rope_parameters=rope(rng),
                         attention_bias=chance(rng, 0.3), mlp_bias=chance(rng, 0.3),
                         tie_word_embeddings=chance(rng), rms_norm_eps=picker(rng)(1e-6, 1e-5, 1e-3))


DRAWS = {f.__name__: f for f in (
    gpt2, gpt_neo, gpt_neox, opt, llama, mistral, qwen2, qwen3, smollm3, granite, gemma, gemma2,
    gemma3_text, phi, phi3, stablelm, olmo2, starcoder2, nanogpt)}

SAID = ("sliding_window", "window_size", "use_sliding_window", "attention_bias", "mlp_bias", "use_bias",
        "use_qkv_bias", "enable_bias", "qk_layernorm", "use_parallel_residual", "attn_logit_softcapping",
        "final_logit_softcapping", "tie_word_embeddings")


def draw(family, rng):
    config = DRAWS[family](rng)
    heads = config.num_attention_heads
    kv = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    ropes = getattr(config, "rope_parameters", None) or {}
    said = [f"{key} {value}" if value is not True else key for key in SAID
            if (value := getattr(config, key, None))]
    kind = (ropes.get("full_attention") or ropes).get("rope_type", "default")
    label = (f"{family} dim {config.hidden_size} heads {heads}/{kv}x{head_dim} layers "
             f"{config.num_hidden_layers}" + f" {kind}" * (kind != "default")
             + "".join(f", {s}" for s in said))
    pick = picker(rng)
    options = {"dtype": pick(torch.float32, torch.float32, torch.bfloat16, torch.float16),
               "old": bool(ropes) and chance(rng, 0.4)}
    if family == "gpt2":
        options["bare"] = chance(rng, 0.3)
    if family == "nanogpt":
        options["nano"] = "nanogpt" if config.tie_word_embeddings else "mingpt"
        options["bias"] = options["nano"] == "mingpt" or chance(rng)
    if family.startswith("gemma"):
        options["cast"] = options["dtype"]
    return label + " old" * options["old"], config, options


OUT = ("o_proj", "down", "c_proj", "out_proj", "dense.", "fc2", "dense_4h_to_h")


def fill(model, rng):
    """Weights large enough that attention is uneven and logits are far apart; no bias is 0, no norm
    weight is 1."""
    kind = model.config.model_type
    for name, p in sorted(model.named_parameters()):
        x = rng.standard_normal(tuple(p.shape))
        if name.endswith("bias"):
            x *= 0.3
        elif p.dim() == 1:
            x = 0.3 * x + (not kind.startswith("gemma"))
        elif "wpe" in name or "embed_positions" in name:
            x *= 0.5
        elif not any(part in name for part in ("embed", "wte", "lm_head")):
            conv = kind == "gpt2" and "c_" in name  # Conv1D is [n_in, n_out]
            x *= (0.8 if any(part in name for part in OUT) else 1.3) / p.shape[0 if conv else 1] ** 0.5
            if kind == "gpt_neo" and ("q_proj" in name or "k_proj" in name):  # scores are not scaled
                x *= (model.config.hidden_size // model.config.num_heads) ** -0.25
        p.data = torch.from_numpy(x).to(p.dtype)


def layers_of(model):
    for path in ("model.layers", "model.decoder.layers", "transformer.h", "gpt_neox.layers"):
        try:
            return model.get_submodule(path)
        except AttributeError:
            pass
    raise ValueError(type(model).__name__)


def old_terms(path):
    """What transformers 5 writes -> what 4 wrote: rotation beside the other keys, dtype as torch_dtype,
    no types of layers where a rule gives them."""
    config = json.loads(path.read_text())
    ropes = config.pop("rope_parameters")
    local = ropes.get("sliding_attention")
    made = ropes["full_attention"] if local else ropes
    theta, part = made.pop("rope_theta"), made.pop("partial_rotary_factor", None)
    neox = config["model_type"] == "gpt_neox"
    config["rotary_emb_base" if neox else "rope_theta"] = theta
    if part is not None:
        config["rotary_pct" if neox else "partial_rotary_factor"] = part
    if local:
        config["rope_local_base_freq"] = local["rope_theta"]
    config["rope_scaling"] = None if made["rope_type"] == "default" else made
    if made["rope_type"] == "longrope":  # the key's first name
        made["type"] = made.pop("rope_type")
    if config["model_type"] == "gemma3_text" and len(config["layer_types"]) > 2:
        config["sliding_window_pattern"] = 3
        del config["layer_types"]
    elif config["model_type"] in ("gemma2", "qwen2", "qwen3"):
        config.pop("layer_types")
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save_nano(folder, model, options):
    """GPT-2's weights under nanoGPT's configuration: matrices transposed, biases left out."""
    tensors = {name: t.clone() for name, t in model.state_dict().items()
               if options["bias"] or not name.endswith("bias")}
    for name, t in tensors.items():
        if ".c_" in name and t.dim() == 2:
            tensors[name] = t.T.contiguous()
    save_file(tensors, folder / "model.safetensors")
    c = model.config
    args = {"n_layer": c.n_layer, "n_head": c.n_head, "n_embd": c.n_embd, "vocab_size": c.vocab_size,
            "block_size": c.n_positions, "bias": options["bias"], "dropout": 0.0}
    if options["nano"] == "mingpt":
        args["model_type"] = "mingpt"
    (folder / "config.json").write_text(json.dumps(args, indent=2) + "\n")


def save(folder, config, options, seed):
    """Writes the folder; the model as stored comes back."""
    model = T.AutoModelForCausalLM.from_config(config)
    fill(model, np.random.default_rng(seed))
    if not options.get("bias", True):
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.data.zero_()
    model = model.to(options.get("dtype", torch.float32))
    folder.mkdir(parents=True, exist_ok=True)
    if options.get("nano"):
        save_nano(folder, model, options)
        return model
    (model.transformer if options.get("bare") else model).save_pretrained(folder,
                                                                          **options.get("save", {}))
    (folder / "generation_config.json").unlink(missing_ok=True)
    if options.get("old"):
        old_terms(folder / "config.json")
    return model


def load(folder, dtype, options=None, stored=None):
    """The network to be run in `dtype`; `stored` where transformers cannot read the folder."""
    options = options or {}
    if options.get("nano"):
        return stored.to(dtype)
    model = T.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    if options.get("cast"):
        embed = model.get_input_embeddings()
        embed.embed_scale = embed.embed_scale.to(options["cast"]).float()
    return model


def run(model, ids):
    """(logits[n, n_vocab], residual[n_layers, n, dim])"""
    seen = []
    keep = lambda _, __, out: seen.append((out[0] if isinstance(out, tuple) else out).numpy())
    hooks = [layer.register_forward_hook(keep) for layer in layers_of(model)]
    with torch.no_grad():
        logits = model.eval()(torch.tensor(ids[None].astype(np.int64))).logits[0].numpy()
    for hook in hooks:
        hook.remove()
    return logits, [r.reshape(len(ids), -1) for r in seen]
