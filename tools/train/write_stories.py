"""Writes stories with a small public model, to train a smaller one on.

tune   adapts the teacher (SmolLM2-135M-Instruct, a GGUF file) to real stories, so that it writes in
       their manner; its vocabulary is first cut to the tokens that the stories use
write  samples stories from it in batches, a file of JSON lines; stopped and started at will
pick   keeps what makes sense: whole, not repeating itself, not told before

Everything runs in bfloat16, which some processors are many times faster at; the master weights of
the tuning are float32.
"""

import argparse
import collections
import json
import random
import re
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import data
from model import Config, Network, rope, rope_table

N_CTX = 512    # rows of the tuning; no story may be longer
END_ID = 0  # <|endoftext|> in SmolLM2's vocabulary


def load_teacher(gguf):
    """The GGUF as our own network, with its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    path = Path(gguf)
    hf = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    c, s = hf.config, hf.state_dict()
    cfg = Config(n_vocab=c.vocab_size, n_ctx=N_CTX, dim=c.hidden_size, n_layers=c.num_hidden_layers,
                 n_heads=c.num_attention_heads, n_kv_heads=c.num_key_value_heads,
                 head_dim=c.hidden_size // c.num_attention_heads, ffn_dim=c.intermediate_size,
                 rope_theta=float(c.rope_parameters["rope_theta"]), norm_eps=c.rms_norm_eps)
    names = {"embed.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
    for i in range(cfg.n_layers):
        ours, theirs = f"layers.{i}.", f"model.layers.{i}."
        for w in "qkvo":
            names[f"{ours}attn.w{w}.weight"] = f"{theirs}self_attn.{w}_proj.weight"
        for w in ("gate", "up", "down"):
            names[f"{ours}mlp.w_{w}.weight"] = f"{theirs}mlp.{w}_proj.weight"
        names[f"{ours}attn_norm.weight"] = f"{theirs}input_layernorm.weight"
        names[f"{ours}mlp_norm.weight"] = f"{theirs}post_attention_layernorm.weight"
    return cfg, {ours: s[theirs] for ours, theirs in names.items()}, tokenizer


def cut_vocabulary(cfg, state, used):
    """Keep the embedding rows of `used`: new id i is old id used[i]."""
    cfg.n_vocab = len(used)
    state["embed.weight"] = state["embed.weight"][torch.tensor(used)].clone()


def encode_all(tokenizer, stories):
    """One stream of ids: END, story, END, story, ..."""
    ids = tokenizer(stories, add_special_tokens=False)["input_ids"]
    return [t for story in ids for t in [END_ID] + story] + [END_ID]


@torch.no_grad()
def bits_per_byte(net, tokenizer, remap, pieces):
    """The held-out recipe: each piece alone, END first, all its tokens scored."""
    nats = 0.0
    for piece in pieces:
        ids = tokenizer(piece.decode("utf-8", "ignore"), add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[remap[t] for t in [END_ID] + ids]])
        nats += F.cross_entropy(net.logits(ids[:, :-1])[0], ids[0, 1:], reduction="sum").item()
    return nats / np.log(2) / sum(len(p) for p in pieces)


def tune(args):
    torch.manual_seed(args.seed)
    cfg, state, tokenizer = load_teacher(args.gguf)
    train = [s for path in args.stories for s in data.read_stories_file(path)]
    valid = data.read_stories_file(args.valid)
    random.Random(args.seed).shuffle(train)
    stream = np.array(encode_all(tokenizer, train))
    check = np.array(encode_all(tokenizer, valid))
    counts = np.bincount(stream, minlength=cfg.n_vocab)
    used = sorted(set(np.flatnonzero(counts >= 2)) | set(range(300)) | set(check))
    remap = np.full(cfg.n_vocab, -1)
    remap[used] = np.arange(len(used))
    cut_vocabulary(cfg, state, used)
    stream, check = remap[stream], remap[check]
    stream = stream[stream >= 0]
    net = Network(cfg)
    net.load_state_dict(state)
    net = net.to(torch.bfloat16)
    masters = [p.detach().float() for p in net.parameters()]
    print(f"{len(stream)} tokens, {len(used)} of the vocabulary", flush=True)

    def valid_loss():
        rows = torch.tensor(check[:len(check) // N_CTX * N_CTX].reshape(-1, N_CTX)[:24])
        with torch.no_grad():
            return net.loss(rows[:, :-1], rows[:, 1:]).item()

    optimizer = torch.optim.AdamW(masters, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    n_steps = int(args.epochs * len(stream) / (N_CTX * args.batch))
    print(f"{n_steps} steps, validation loss before {valid_loss():.4f}", flush=True)
    start = time.time()
    for step in range(n_steps):
        rate = args.lr * min(1, (step + 1) / 10, 0.05 + (n_steps - step) / n_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        at = np.random.default_rng((args.seed, step)).integers(0, len(stream) - N_CTX - 1, args.batch)
        rows = torch.tensor(np.stack([stream[a:a + N_CTX + 1] for a in at]))
        loss = net.loss(rows[:, :-1], rows[:, 1:])
        loss.backward()
        with torch.no_grad():
            for p, master in zip(net.parameters(), masters):
                master.grad, p.grad = p.grad.float(), None
            torch.nn.utils.clip_grad_norm_(masters, 1.0)
            optimizer.step()
            for p, master in zip(net.parameters(), masters):
                p.copy_(master)
        if step % 5 == 0 or step == n_steps - 1:
            print(f"step {step} loss {loss.item():.4f} {time.time() - start:.0f} s", flush=True)
        if step % 40 == 39 or step == n_steps - 1:
            print(f"step {step} validation loss {valid_loss():.4f}", flush=True)
            torch.save({"config": net.config_dict(), "state": net.state_dict(),
                        "used": [int(u) for u in used]}, args.out + ".tmp")
            Path(args.out + ".tmp").rename(args.out)


class Writer:
    """Batched decoding; all rows stand at the same position, and rows that have ended are dropped."""

    def __init__(self, cfg, state):
        self.cfg, self.state = cfg, {k: v.to(torch.bfloat16) for k, v in state.items()}
        self.cos, self.sin = rope_table(N_CTX, cfg.head_dim, cfg.rope_theta)
        for i in range(cfg.n_layers):  # one product for q, k, v and one for gate, up
            at, mlp = f"layers.{i}.attn.", f"layers.{i}.mlp."
            self.state[f"{i}.qkv"] = torch.cat([self.state[f"{at}w{w}.weight"] for w in "qkv"])
            self.state[f"{i}.gate_up"] = torch.cat([self.state[f"{mlp}w_{w}.weight"] for w in ("gate", "up")])

    def start(self, n_rows):
        """kv[layer] [2, n_rows, n_kv_heads, N_CTX, head_dim]"""
        c = self.cfg
        self.kv = [torch.zeros(2, n_rows, c.n_kv_heads, N_CTX, c.head_dim, dtype=torch.bfloat16)
                   for _ in range(c.n_layers)]

    def keep(self, rows, pos):
        """Keep these rows (ascending) of the first pos positions."""
        for i, kv in enumerate(self.kv):
            kv[:, :len(rows), :, :pos] = kv[:, rows, :, :pos]
            self.kv[i] = kv[:, :len(rows)]

    def step(self, tokens, pos):
        """tokens [n_rows] at position pos -> logits [n_rows, n_vocab]"""
        c, s = self.cfg, self.state
        n_rows, group = len(tokens), c.n_heads // c.n_kv_heads
        x = s["embed.weight"][tokens]
        cos, sin = self.cos[pos], self.sin[pos]
        for i in range(c.n_layers):
            xn = F.rms_norm(x, (c.dim,), s[f"layers.{i}.attn_norm.weight"], c.norm_eps)
            qkv = F.linear(xn, s[f"{i}.qkv"]).view(n_rows, -1, 1, c.head_dim)
            q, k, v = qkv.split((c.n_heads, c.n_kv_heads, c.n_kv_heads), dim=1)
            keys, values = self.kv[i][:, :, :, :pos + 1]
            keys[:, :, pos:], values[:, :, pos:] = rope(k, cos, sin), v
            q = rope(q, cos, sin).view(n_rows, c.n_kv_heads, group, c.head_dim)  # heads as rows
            ao = F.scaled_dot_product_attention(q, keys, values)
            x = x + F.linear(ao.reshape(n_rows, -1), s[f"layers.{i}.attn.wo.weight"])
            xn = F.rms_norm(x, (c.dim,), s[f"layers.{i}.mlp_norm.weight"], c.norm_eps)
            gate, up = F.linear(xn, s[f"{i}.gate_up"]).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, s[f"layers.{i}.mlp.w_down.weight"])
        x = F.rms_norm(x, (c.dim,), s["norm.weight"], c.norm_eps)
        return F.linear(x, s["embed.weight"])


def sample(logits, temperature, min_p):
    """One id a row, out of the 64 likeliest: those below min_p times the likeliest are left out."""
    top, ids = logits.float().topk(64, dim=-1)
    p = torch.softmax(top / temperature, dim=-1)
    p.masked_fill_(p < min_p * p[:, :1], 0)
    return ids.gather(1, torch.multinomial(p, 1))[:, 0]


def write_batch(writer, n_rows, end, temperature, min_p):
    """Stories as lists of ids; the last tenth, which would go on for long, is given up."""
    writer.start(n_rows)
    tokens, texts, stories = torch.full((n_rows,), end), [[] for _ in range(n_rows)], []
    for pos in range(N_CTX):
        tokens = sample(writer.step(tokens, pos), temperature, min_p)
        for text, token in zip(texts, tokens.tolist()):
            text.append(token)
        if pos % 16 == 15:
            ended = [end in text for text in texts]
            stories += [text[:text.index(end)] for text, done in zip(texts, ended) if done]
            alive = [i for i, done in enumerate(ended) if not done]
            if len(alive) < n_rows // 10:
                break
            writer.keep(alive, pos + 1)
            tokens, texts = tokens[alive], [texts[i] for i in alive]
    return stories


@torch.no_grad()
def write(args):
    saved = torch.load(args.teacher)
    tokenizer = load_teacher(args.gguf)[2]
    used, end = saved["used"], saved["used"].index(END_ID)
    writer = Writer(Config(**saved["config"]), saved["state"])
    torch.manual_seed(args.seed if args.seed is not None else time.time_ns() % 2**31)
    start, n_bytes = time.time(), 0
    while not args.minutes or time.time() - start < args.minutes * 60:
        stories = write_batch(writer, args.rows, end, args.temperature, args.min_p)
        texts = tokenizer.batch_decode([[used[t] for t in story] for story in stories])
        with open(args.out, "a") as f:
            for text in texts:
                f.write(json.dumps(data.clean(text)) + "\n")
        n_bytes += sum(map(len, texts))
        print(f"{len(texts)} stories, {n_bytes} characters in {time.time() - start:.0f} s, "
              f"{time.process_time():.0f} s of processor time", flush=True)


def fault(story):
    """What is wrong with a story, or None."""
    if not 150 <= len(story) <= 3000:
        return "length"
    if not story[0].isupper() and story[0] != '"':
        return "opening"
    if story[-1] not in '.!?"' or story.count('"') % 2:
        return "ending"
    if not story.isascii() or re.search(r"[<>{}\[\]_#*=|\\/@]", story):
        return "characters"
    sentences = [s.strip() for s in re.split(r"[.!?]+\"?\s", story) if len(s) > 12]
    if len(set(sentences)) < len(sentences):
        return "repeated sentence"
    words = re.findall(r"[a-z']+", story.lower())
    fours = list(zip(words, words[1:], words[2:], words[3:]))
    if len(set(fours)) < 0.93 * len(fours):
        return "repeated words"
    return None


def pick(args):
    """Besides faults: no story that shares most of its 8-word runs with the real or the earlier ones."""
    def runs(text):
        words = re.findall(r"[a-z']+", text.lower())
        return {hash(tuple(words[i:i + 8])) for i in range(len(words) - 7)}

    told = set()
    for path in args.stories:
        for story in data.read_stories_file(path):
            told |= runs(story)
    kept, reasons = [], collections.Counter()
    for path in args.written:
        for line in open(path, encoding="utf-8"):
            story = json.loads(line)
            reason = fault(story)
            if reason is None:
                mine = runs(story)
                if not mine or len(mine & told) > 0.3 * len(mine):
                    reason = "told before"
                else:
                    told |= mine
                    kept.append(story)
            reasons[reason or "kept"] += 1
    data.write_stories_file(args.out, kept)
    print(f"{sum(map(len, kept))} characters;", dict(reasons.most_common()))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gguf", help="the teacher; not needed to pick")
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("tune")
    p.add_argument("--stories", nargs="+", required=True)
    p.add_argument("--valid", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--epochs", type=float, default=0.6)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--lr", type=float, default=1.5e-4)
    p.add_argument("--seed", type=int, default=1)
    p = commands.add_parser("write")
    p.add_argument("--teacher", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--rows", type=int, default=256)
    p.add_argument("--minutes", type=float, default=0, help="0: until stopped")
    p.add_argument("--temperature", type=float, default=0.85)
    p.add_argument("--min-p", type=float, default=0.03)
    p.add_argument("--seed", type=int)
    p = commands.add_parser("pick")
    p.add_argument("written", nargs="+", help="what write wrote")
    p.add_argument("--stories", nargs="+", required=True, help="the real stories")
    p.add_argument("--out", required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    {"tune": tune, "write": write, "pick": pick}[args.command](args)


if __name__ == "__main__":
    main()
