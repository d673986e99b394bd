"""make_kvass_golden.py - a tiny random checkpoint of the kvass family and its logits, from the network that
tools/train trains: meta tokens, windows on some layers, layers that read another's keys and values.

  python make_kvass_golden.py [--out ../../tests/golden]
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file

import golden

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "train"))
import export  # noqa: E402
import model as network  # noqa: E402

CONFIG = network.Config(family="kvass", n_vocab=53, n_ctx=256, dim=32, n_layers=5, n_heads=4, n_kv_heads=2,
                        head_dim=8, ffn_dim=40, n_meta=5, window=20,
                        windowed=[True, True, False, True, True], kv_owner=[0, 0, 2, 2, 4])


def fill(net, rng):
    """As make_goldens.py: attention uneven, logits far apart, no norm weight 1."""
    for name, p in sorted(net.named_parameters()):
        x = rng.standard_normal(tuple(p.shape))
        if p.dim() == 1:
            x = 1 + 0.3 * x
        elif "embed" not in name and "meta" not in name:
            x *= (0.8 if name.endswith(("wo.weight", "w_down.weight")) else 1.3) / p.shape[1] ** 0.5
        p.data = torch.from_numpy(x).to(torch.float32).double()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).parents[2] / "tests/golden")
    folder = parser.parse_args().out / "kvass"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    net = network.Network(CONFIG).double().eval()
    fill(net, np.random.default_rng(5))
    tensors = export.llama_tensors(CONFIG, net.state_dict())
    save_file({k: v.float().contiguous() for k, v in sorted(tensors.items())},
              folder / "model.safetensors", metadata={"format": "pt"})
    config = {**export.llama_config(CONFIG), "vocab_size": CONFIG.n_vocab, "tie_word_embeddings": True,
              "bos_token_id": 0, "eos_token_id": 0, "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    ids = golden.random_ids(np.random.default_rng(6), CONFIG.n_vocab)
    seen = []
    for layer in net.layers:
        layer.register_forward_hook(lambda _, __, out: seen.append(out[0][0, CONFIG.n_meta:].numpy()))
    with torch.no_grad():
        hidden = net(torch.tensor(ids[None].astype(np.int64)))[0]
        logits = (hidden @ net.embed.weight.T).numpy()
    golden.write(folder / "logits.bin", ids, logits, seen, CONFIG.n_vocab)
    print(f"{folder}: std {logits.std():.2f}")


if __name__ == "__main__":
    main()
