"""oracle.py - the llama network in float64 NumPy: short, slow, independent of every other program.

`config` speaks config.json's language; `weights` maps Hugging Face tensor names to arrays whose
query and key rows are laid out for "rotate half".
"""
import math

import numpy as np


def rope_frequencies(config, head_dim):
    """Radians per position for each of the head_dim / 2 pairs."""
    rope = dict(config.get("rope_scaling") or {})
    rope.update(config.get("rope_parameters") or {})
    theta = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    freq = float(theta) ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "linear":
        return freq / rope["factor"]
    if kind == "llama3":
        turns = rope["original_max_position_embeddings"] * freq / (2 * math.pi)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        keep = np.clip((turns - low) / (high - low), 0, 1)  # 1: left alone, 0: divided by factor
        return freq * (keep + (1 - keep) / rope["factor"])
    assert kind == "default", kind
    return freq


class Llama:
    """step(ids) appends ids to the one sequence it holds and returns (logits[n, n_vocab],
    residual[n_layers, n, dim])."""

    def __init__(self, config, weights):
        self.w = {name: np.asarray(w, np.float64) for name, w in weights.items()}
        self.n_layers, self.eps = config["num_hidden_layers"], config["rms_norm_eps"]
        self.n_heads = config["num_attention_heads"]
        self.n_kv_heads = config.get("num_key_value_heads") or self.n_heads
        self.head_dim = config.get("head_dim") or config["hidden_size"] // self.n_heads
        self.freq = rope_frequencies(config, self.head_dim)
        self.k = [np.zeros((self.n_kv_heads, 0, self.head_dim))] * self.n_layers
        self.v = list(self.k)

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w.get(name + ".bias", 0.0)

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.w[name + ".weight"]

    def rotate(self, x, pos):
        """x[n_heads, n, head_dim], pos[n]"""
        angle = pos[:, None] * self.freq
        a, b = np.split(x, 2, axis=-1)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def attention(self, x, layer, pos):
        n, name = len(x), f"model.layers.{layer}.self_attn."
        heads = lambda y, h: y.reshape(n, h, self.head_dim).swapaxes(0, 1)
        q = self.rotate(heads(self.linear(x, name + "q_proj"), self.n_heads), pos)
        k = self.rotate(heads(self.linear(x, name + "k_proj"), self.n_kv_heads), pos)
        v = heads(self.linear(x, name + "v_proj"), self.n_kv_heads)
        self.k[layer] = k = np.concatenate([self.k[layer], k], axis=1)
        self.v[layer] = v = np.concatenate([self.v[layer], v], axis=1)
        group = self.n_heads // self.n_kv_heads
        scores = q @ np.repeat(k, group, 0).swapaxes(1, 2) / math.sqrt(self.head_dim)
        scores[:, np.arange(k.shape[1]) > pos[:, None]] = -np.inf
        p = np.exp(scores - scores.max(-1, keepdims=True))
        out = p / p.sum(-1, keepdims=True) @ np.repeat(v, group, 0)
        return self.linear(out.swapaxes(0, 1).reshape(n, -1), name + "o_proj")

    def mlp(self, x, layer):
        name = f"model.layers.{layer}.mlp."
        gate = self.linear(x, name + "gate_proj")
        return self.linear(gate / (1 + np.exp(-gate)) * self.linear(x, name + "up_proj"),
                           name + "down_proj")

    def step(self, ids):
        x = self.w["model.embed_tokens.weight"][ids]
        pos = self.k[0].shape[1] + np.arange(len(ids))
        residual = []
        for layer in range(self.n_layers):
            name = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, name + "input_layernorm"), layer, pos)
            x = x + self.mlp(self.norm(x, name + "post_attention_layernorm"), layer)
            residual.append(x)
        head = "lm_head" if "lm_head.weight" in self.w else "model.embed_tokens"
        return self.linear(self.norm(x, "model.norm"), head), np.array(residual)
