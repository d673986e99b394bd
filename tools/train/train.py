"""Trains one of the three networks on packed token streams; stopped and started at will.

Every step draws its rows from (seed, step) alone, so a resumed run sees what an unbroken one would.
The rate warms up, stays, and decays linearly over the last part (WSD): a run may be made longer by
starting again with a larger --tokens from a checkpoint that lies before the decay. Phases part the
run: each has its share of the tokens, its context and its streams. Matrices inside the layers are
stepped by Muon, everything else by AdamW.
"""

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from copying import lay_copying
from model import NAMED, Network


class Streams:
    """Rows of n_ctx + 1 tokens out of FILE.bin[:TIMES]; half of them begin where a document does.

    A stream is drawn from by its length, TIMES as often as its length alone would have it.
    """

    def __init__(self, specs):
        self.streams, self.starts, weights = [], [], []
        for spec in specs:
            path, _, times = spec.partition(":")
            stream = np.fromfile(path, dtype=np.uint16)
            self.streams.append(stream)
            self.starts.append(np.flatnonzero(stream == 0))
            weights.append(len(stream) * float(times or 1))
        self.weights = np.array(weights) / sum(weights)

    def rows(self, rng, n_rows, n_ctx):
        out = np.empty((n_rows, n_ctx + 1), dtype=np.int64)
        for row in out:
            i = rng.choice(len(self.streams), p=self.weights)
            stream, starts = self.streams[i], self.starts[i]
            last = len(stream) - n_ctx - 1
            at = rng.integers(last)
            if rng.random() < 0.5:
                at = min(last, starts[rng.integers(len(starts))])
            row[:] = stream[at:at + n_ctx + 1]
        return torch.from_numpy(out)


def rate_at(done, total, decay_from, warmup_tokens=300_000):
    """Share of the peak rate after `done` tokens."""
    return min(1.0, (done + 1) / warmup_tokens, max(0.02, (total - done) / (total - decay_from)))


def make_optimizers(net, lr):
    matrices = [p for n, p in net.named_parameters() if p.dim() == 2 and "layers." in n]
    known = {id(p) for p in matrices}
    rest = [p for p in net.parameters() if id(p) not in known]
    return [torch.optim.Muon(matrices, lr=lr, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)]


@torch.no_grad()
def valid_loss(net, stream, n_ctx, autocast):
    """Mean nats a token over the whole stream, in rows of n_ctx, without dropout."""
    n = (len(stream) - 1) // n_ctx * n_ctx
    x, y = stream[:n].view(-1, n_ctx), stream[1:n + 1].view(-1, n_ctx)
    net.eval()
    with autocast:
        loss = sum(net.loss(a[None], b[None]).item() for a, b in zip(x, y)) / len(x)
    net.train()
    return loss


def read_phases(specs, total):
    """[(tokens at which it ends, n_ctx, streams)] out of lists SHARE CTX FILE.bin..."""
    shares = [float(spec[0]) for spec in specs]
    return [(total * sum(shares[:i + 1]) / sum(shares), int(spec[1]), Streams(spec[2:]))
            for i, spec in enumerate(specs)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=NAMED)
    parser.add_argument("--phase", nargs="+", action="append", required=True,
                        help="SHARE CTX FILE.bin[:TIMES]...: its share of the tokens, its context, its streams")
    parser.add_argument("--valid", required=True)
    parser.add_argument("--out", required=True, help="folder for the checkpoint and the curve")
    parser.add_argument("--tokens", type=float, default=60e6)
    parser.add_argument("--decay", type=float, default=0.25, help="share of the tokens over which the rate falls")
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=50, help="steps between validations and checkpoints")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--f32", action="store_true", help="no bfloat16")
    parser.add_argument("--compile", action="store_true", help="minutes to start, then nearly twice as fast")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    net = Network(replace(NAMED[args.network], dropout=args.dropout)).to(args.device)
    optimizers = make_optimizers(net, args.lr)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, curve = out / "checkpoint.pt", out / "curve.csv"
    step, done = 0, 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=args.device)
        net.load_state_dict(saved["state"])
        for optimizer, state in zip(optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        step, done = saved["step"], saved["tokens"]
    else:
        lay_copying(net)
        curve.write_text("step,tokens,n_ctx,rate,train_loss,valid_loss,tokens_per_second\n")
    n_params = sum(p.numel() for p in net.parameters())
    print(f"{args.network}: {n_params} parameters, at step {step}, {done} tokens", flush=True)

    total = int(args.tokens)
    phases = read_phases(args.phase, total)
    judge = torch.from_numpy(np.fromfile(args.valid, dtype=np.uint16).astype(np.int64)).to(args.device)
    loss_of = torch.compile(net.loss, dynamic=False) if args.compile else net.loss
    autocast = torch.autocast(args.device, torch.bfloat16, enabled=not args.f32)
    losses, clock, since = [], time.time(), 0
    while done < total:
        _, n_ctx, streams = next((p for p in phases if done < p[0]), phases[-1])
        rng = np.random.default_rng((args.seed, step))
        rows = streams.rows(rng, args.batch_tokens // n_ctx, n_ctx).to(args.device)
        rate = args.lr * rate_at(done, total, total * (1 - args.decay))
        torch.manual_seed(args.seed * 1_000_003 + step)  # dropout
        total_loss = 0.0
        parts = rows.split(max(1, 8192 // n_ctx))
        for part in parts:  # small parts stay in the processor's cache
            with autocast:
                loss = loss_of(part[:, :-1], part[:, 1:]) * len(part) / len(rows)
            loss.backward()
            total_loss += loss.item()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optimizer, share in zip(optimizers, (1.0, 0.4)):  # embeddings move slower
            for group in optimizer.param_groups:
                group["lr"] = share * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step, done, since = step + 1, done + rows[:, 1:].numel(), since + rows[:, 1:].numel()
        losses.append(total_loss)
        if step % args.every == 0 or done >= total:
            valid = valid_loss(net, judge, n_ctx, autocast)
            speed, clock, since = since / (time.time() - clock), time.time(), 0
            line = [step, done, n_ctx, f"{rate:.6f}", f"{np.mean(losses):.4f}", f"{valid:.4f}", f"{speed:.0f}"]
            losses = []
            with curve.open("a") as f:
                csv.writer(f, lineterminator="\n").writerow(line)
            print(*line, flush=True)
            torch.save({"config": net.config_dict(), "state": net.state_dict(), "step": step, "tokens": done,
                        "optimizers": [o.state_dict() for o in optimizers], "args": vars(args)},
                       checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").rename(checkpoint)


if __name__ == "__main__":
    main()
