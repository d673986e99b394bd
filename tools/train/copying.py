"""Lays the circuit that copies into a fresh network: what followed "of Lily is" is likely to follow it again.

A network finds it by itself only after thousands of steps. It takes two layers. In the first, one head
looks one token back, another two, and each writes what it sees into a part of the residual stream of
its own. In a later one a head looks for the position whose last two tokens are this position's token
and the one before it, and writes the token found there. It is only a start: training moves it all.
"""

import torch

N_SLOW = 32     # dimensions of a head that turn too slowly to tell positions apart: those that match
N_BEFORE = 20   # of these for the token before, the rest for the token itself
N_POS = 32      # dimensions that hold learned positions, where positions are learned
N_FAST = 6      # the fastest pairs tell a position from its neighbours


def orthonormal(n_rows, n_cols, rng):
    return torch.linalg.qr(torch.randn(n_cols, n_rows, generator=rng, dtype=torch.float64))[0].t().float()


def turning(n_pairs, base):
    """Angles by which pairs of dimensions turn from one position to the next."""
    return base ** (-torch.arange(n_pairs) / n_pairs)


def lay_positions(net, rng):
    """(query one token back, query two back, key) [head_dim, dim] of layer 0, and what they need embedded."""
    cfg = net.cfg
    queries_and_key = [torch.zeros(cfg.head_dim, cfg.dim) for _ in range(3)]
    if cfg.family == "gpt2":  # positions turn in the first dimensions; a query turns them back
        angles = turning(N_POS // 2, 10000.0)
        at = torch.outer(torch.arange(cfg.n_ctx), angles)
        net.embed.weight[:, :N_POS] = 0
        net.embed_pos.weight[:, N_POS:] *= 0.1
        net.embed_pos.weight[:, :N_POS] = 0.3 * torch.cat((at.cos(), at.sin()), dim=1)
        for weight, steps in zip(queries_and_key, (1, 2, 0)):
            cos, sin = (steps * angles).cos().diag(), (steps * angles).sin().diag()
            turn = torch.cat((torch.cat((cos, sin), 1), torch.cat((-sin, cos), 1)))
            weight[:N_POS, :N_POS] = 3.7 * turn * (torch.arange(N_POS) % (N_POS // 2) < N_FAST)[:, None]
    else:  # queries and keys are turned by RoPE: they need a constant, dimension 0 of every token
        net.embed.weight[:, 0] = 1.5
        if cfg.n_meta:
            net.meta[:, 0] = 0
        half = cfg.head_dim // 2
        angles = turning(half, cfg.rope_theta)[:N_FAST]
        for weight, steps in zip(queries_and_key, (0, -1, 1)):
            weight[:N_FAST, 0] = (steps * angles).cos()
            weight[half:half + N_FAST, 0] = (steps * angles).sin()
    return queries_and_key


@torch.no_grad()
def lay_copying(net, layer=2, seed=0):
    cfg, rng = net.cfg, torch.Generator().manual_seed(seed)
    size, first, later = cfg.head_dim, net.layers[0].attn, net.layers[layer].attn
    heads = [slice(i * size, (i + 1) * size) for i in (2, 3)]
    kv_heads = [slice(i * size, (i + 1) * size) for i in (2 * cfg.n_kv_heads // cfg.n_heads,
                                                           3 * cfg.n_kv_heads // cfg.n_heads)]
    net.embed.weight *= 3  # large enough to last when training sets in
    n_other = N_POS if cfg.family == "gpt2" else 1
    parts = torch.zeros(3 * size, cfg.dim)
    parts[:, n_other:] = orthonormal(3 * size, cfg.dim - n_other, rng)
    see, *read = parts.split(size)  # of a token itself, the one before it, the one before that

    *queries, key = lay_positions(net, rng)
    for head, kv_head, query, part in zip(heads, kv_heads, queries, read):
        first.wq.weight[head], first.wk.weight[kv_head], first.wv.weight[kv_head] = query, key, see
        first.wo.weight[:, head] = 0.2 * part.t()

    half, n_pairs = size // 2, N_SLOW // 2  # pairs are dimensions d and d + half; the last turn slowest
    slow = torch.cat((torch.arange(half - n_pairs, half), torch.arange(size - n_pairs, size)))
    before, itself = slice(0, N_BEFORE), slice(N_BEFORE, N_SLOW)
    query, key = torch.zeros(size, cfg.dim), torch.zeros(size, cfg.dim)
    query[slow[before]], key[slow[before]] = 2 * read[0][before], 2 * read[1][before]
    query[slow[itself]], key[slow[itself]] = 5 * see[itself], 2 * read[0][itself]
    later.wq.weight[heads[0]], later.wk.weight[kv_heads[0]] = query, key
    later.wv.weight[kv_heads[0]], later.wo.weight[:, heads[0]] = see, see.t()
