"""The three networks in plain PyTorch, small enough to compare with the C line by line.

tiny       Llama-like: RMSNorm, RoPE (halves rotated), GQA, SwiGLU, tied embeddings
tiny-lean  the kvass family: the same with learned meta tokens in front of the text, a sliding
           window on most layers, and layer pairs that share one K and V (kv_owner)
tiny-gpt2  LayerNorm with bias, learned positions, MHA with a fused qkv, GELU (tanh form)

Linear weights are [out, in]; positions count from the first meta token where there are any.
A window W means W text keys including the query's own; meta tokens are always visible.
"""

from dataclasses import asdict, dataclass, field

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    family: str = "llama"          # llama, kvass or gpt2
    n_vocab: int = 4096
    n_ctx: int = 1024
    dim: int = 256
    n_layers: int = 6
    n_heads: int = 4
    n_kv_heads: int = 2
    head_dim: int = 64
    ffn_dim: int = 352
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5
    n_meta: int = 0
    window: int = 0                # text keys a windowed layer sees, the query's own included
    windowed: list = field(default_factory=list)   # [n_layers] of bool; empty: none
    kv_owner: list = field(default_factory=list)   # [n_layers]; empty: every layer its own
    dropout: float = 0.0           # of the embeddings and of what every block adds; in training only


# tiny-lean: the pairs (0,1) (2,3) (4,5) share K and V; the middle pair sees everything, the others
# a window. The weights that the sharers save go into a wider MLP.
NAMED = {
    "tiny": Config(rope_theta=1e6),
    "tiny-lean": Config(family="kvass", rope_theta=1e6, n_meta=16, window=128, ffn_dim=384,
                        windowed=[True, True, False, False, True, True], kv_owner=[0, 0, 2, 2, 4, 4]),
    "tiny-gpt2": Config(family="gpt2", n_layers=5, n_kv_heads=4, ffn_dim=480),
}


def rope_table(n_pos, head_dim, theta):
    """cos, sin [n_pos, head_dim]: the two halves of a head turn by the same angles."""
    freq = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.outer(torch.arange(n_pos, dtype=torch.float64), freq).repeat(1, 2)
    return angle.cos().float(), angle.sin().float()


def rope(x, cos, sin):
    """x [n_batch, n_heads, n_tokens, head_dim]"""
    a, b = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat((-b, a), dim=-1) * sin.to(x.dtype)


def visible(n_tokens, n_meta, window):
    """Mask [n_meta + n_tokens, same]: causal, and in the window unless the key is a meta token."""
    i = torch.arange(n_meta + n_tokens)
    q, k = i[:, None], i[None, :]
    return (k <= q) & ((k > q - window) | (k < n_meta))


def attend(q, k, v, mask):
    """q, k, v [n_batch, n_heads, n_tokens, head_dim] -> the same; mask None: causal"""
    n_tokens = q.shape[2]
    if n_tokens > 300 or q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    # short rows on a processor: written out, the compiler makes it twice as fast as the library
    mask = visible(n_tokens, 0, n_tokens) if mask is None else mask
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    return torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1).to(v.dtype) @ v


class RMSNorm(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(cfg.dim))
        self.eps = cfg.norm_eps

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    def __init__(self, cfg, layer):
        super().__init__()
        self.cfg = cfg
        self.owns = not cfg.kv_owner or cfg.kv_owner[layer] == layer
        q_dim, kv_dim = cfg.n_heads * cfg.head_dim, cfg.n_kv_heads * cfg.head_dim
        bias = cfg.family == "gpt2"
        self.wq = nn.Linear(cfg.dim, q_dim, bias=bias)
        if self.owns:
            self.wk = nn.Linear(cfg.dim, kv_dim, bias=bias)
            self.wv = nn.Linear(cfg.dim, kv_dim, bias=bias)
        self.wo = nn.Linear(q_dim, cfg.dim, bias=bias)

    def forward(self, xn, shared_kv, mask, cos, sin):
        """xn [n_batch, n_tokens, dim] -> the same shape, and the k and v that a sharer may read."""
        n_batch, n_tokens, _ = xn.shape
        heads = (n_batch, n_tokens, -1, self.cfg.head_dim)
        q = self.wq(xn).view(heads).transpose(1, 2)
        if cos is not None:
            q = rope(q, cos, sin)
        if self.owns:
            k, v = (w(xn).view(heads).transpose(1, 2) for w in (self.wk, self.wv))
            shared_kv = (rope(k, cos, sin) if cos is not None else k, v)
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in shared_kv)
        ao = attend(q, k, v, mask)
        return self.wo(ao.transpose(1, 2).reshape(n_batch, n_tokens, -1)), shared_kv


class Mlp(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.gated = cfg.family != "gpt2"
        if self.gated:
            self.w_gate = nn.Linear(cfg.dim, cfg.ffn_dim, bias=False)
        self.w_up = nn.Linear(cfg.dim, cfg.ffn_dim, bias=not self.gated)
        self.w_down = nn.Linear(cfg.ffn_dim, cfg.dim, bias=not self.gated)

    def forward(self, xn):
        if self.gated:
            return self.w_down(F.silu(self.w_gate(xn)) * self.w_up(xn))
        return self.w_down(F.gelu(self.w_up(xn), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, cfg, layer):
        super().__init__()
        gpt2 = cfg.family == "gpt2"
        self.attn_norm = nn.LayerNorm(cfg.dim, cfg.norm_eps) if gpt2 else RMSNorm(cfg)
        self.mlp_norm = nn.LayerNorm(cfg.dim, cfg.norm_eps) if gpt2 else RMSNorm(cfg)
        self.attn, self.mlp = Attention(cfg, layer), Mlp(cfg)
        self.dropout = nn.Dropout(cfg.dropout)

    def forward(self, x, shared_kv, mask, cos, sin):
        ao, shared_kv = self.attn(self.attn_norm(x), shared_kv, mask, cos, sin)
        x = x + self.dropout(ao)
        return x + self.dropout(self.mlp(self.mlp_norm(x))), shared_kv


class Network(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.embed = nn.Embedding(cfg.n_vocab, cfg.dim)
        if cfg.n_meta:
            self.meta = nn.Parameter(torch.randn(cfg.n_meta, cfg.dim) * 0.02)
        if cfg.family == "gpt2":
            self.embed_pos = nn.Embedding(cfg.n_ctx, cfg.dim)
        self.layers = nn.ModuleList(Block(cfg, layer) for layer in range(cfg.n_layers))
        self.norm = nn.LayerNorm(cfg.dim, cfg.norm_eps) if cfg.family == "gpt2" else RMSNorm(cfg)
        self.dropout = nn.Dropout(cfg.dropout)
        for name, p in self.named_parameters():
            if p.dim() == 2:  # the two matrices that write to the residual start smaller
                small = name.endswith(("wo.weight", "w_down.weight"))
                nn.init.normal_(p, std=0.02 / (2 * cfg.n_layers) ** 0.5 if small else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, tokens):
        """tokens [n_batch, n_tokens] -> normed hidden states [n_batch, n_tokens, dim]"""
        cfg, n_tokens = self.cfg, tokens.shape[1]
        x = self.embed(tokens)
        cos = sin = window_mask = None
        if cfg.family == "gpt2":
            x = x + self.embed_pos.weight[:n_tokens]
        else:
            cos, sin = rope_table(cfg.n_meta + n_tokens, cfg.head_dim, cfg.rope_theta)
        if cfg.n_meta:
            x = torch.cat((self.meta.to(x.dtype).expand(x.shape[0], -1, -1), x), dim=1)
        x = self.dropout(x)
        if any(cfg.windowed) and n_tokens > cfg.window:
            window_mask = visible(n_tokens, cfg.n_meta, cfg.window)
        kv = {}
        for i, layer in enumerate(self.layers):
            owner = cfg.kv_owner[i] if cfg.kv_owner else i
            mask = window_mask if cfg.windowed and cfg.windowed[i] else None
            x, kv[i] = layer(x, kv.get(owner), mask, cos, sin)
        return self.norm(x[:, cfg.n_meta:])

    def logits(self, tokens):
        """[n_batch, n_tokens, n_vocab] in f32; the output matrix is the embedding"""
        return F.linear(self(tokens), self.embed.weight).float()

    def loss(self, tokens, targets):
        """Mean cross entropy in nats; targets of -1 are not scored."""
        logits = F.linear(self(tokens), self.embed.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-1)

    def config_dict(self):
        return asdict(self.cfg)
