"""make_weights_golden.py - the logits of the bundled models: by transformers where it knows the family, by the
network that tools/train trained where it does not. Both compute in float64 with the stored bfloat16 values.

  python make_weights_golden.py [NAME...]
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

import golden

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools/train"))
import export  # noqa: E402
import model as network  # noqa: E402

disable_progress_bar()
COLUMNS = 32  # of the 4,096, evenly apart


def from_folder(folder):
    """A folder of the kvass family as the network that wrote it."""
    c, tensors = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    cfg = network.Config(
        family="kvass", n_vocab=c["vocab_size"], n_ctx=c["max_position_embeddings"], dim=c["hidden_size"],
        n_layers=c["num_hidden_layers"], n_heads=c["num_attention_heads"], n_kv_heads=c["num_key_value_heads"],
        head_dim=c["head_dim"], ffn_dim=c["intermediate_size"], rope_theta=c["rope_theta"],
        norm_eps=c["rms_norm_eps"], n_meta=c["num_meta_tokens"], window=c["sliding_window"],
        windowed=[kind == "sliding_attention" for kind in c["layer_types"]], kv_owner=c["kv_owner"])
    net = network.Network(cfg)
    names = {ours: theirs for ours, theirs in zip(net.state_dict(), net.state_dict())}
    stored = export.llama_tensors(cfg, names)  # {the stored name: ours}
    net.load_state_dict({ours: tensors[theirs].float() for theirs, ours in stored.items()})
    return net


def by_network(folder, ids):
    net, seen = from_folder(folder).double().eval(), []
    for layer in net.layers:
        layer.register_forward_hook(lambda _, __, out: seen.append(out[0][0, net.cfg.n_meta:].numpy()))
    return (net(ids)[0] @ net.embed.weight.T).numpy(), seen


def by_transformers(folder, ids):
    net, seen = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval(), []
    for layer in net.model.layers if hasattr(net, "model") else net.transformer.h:
        layer.register_forward_hook(
            lambda _, __, out: seen.append((out[0] if isinstance(out, tuple) else out)[0].numpy()))
    return net(ids).logits[0].numpy(), seen


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["tiny", "tiny-lean", "tiny-gpt2"])
    torch.set_num_threads(1)
    for name in parser.parse_args().names:
        folder = ROOT / "weights" / name
        n_vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
        ids = golden.random_ids(np.random.default_rng(7), n_vocab)
        known = json.loads((folder / "config.json").read_text())["model_type"] != "kvass"
        with torch.no_grad():
            logits, seen = (by_transformers if known else by_network)(folder, torch.tensor(ids[None].astype(np.int64)))
        out = ROOT / "tests/golden/weights" / f"{name}.logits.bin"
        out.parent.mkdir(exist_ok=True)
        golden.write(out, ids, logits[:, ::n_vocab // COLUMNS], seen, n_vocab)
        print(f"{out.name}: std {logits.std():.2f}")


if __name__ == "__main__":
    main()
