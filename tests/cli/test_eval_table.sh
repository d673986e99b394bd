# eval against an independent program: stories260K on one story of 512 tokens, of which the second
# half is scored, as reckoned in NumPy. Perplexity within 0.2 %, mean KL within 5 %, same top within
# one position; where a KL is given to one digit only, within that digit.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
stories=$shared/models/stories260K/stories260K.bin
text=$shared/corpora/story512.txt
[ -e "$stories" ] && [ -e "$text" ] || skip "no shared data"

# row PPL MEAN_KL MAX_KL SAME_TOP FLAG...
row() {
    local ppl=$1 mean=$2 max=$3 same=$4
    shift 4
    expect 0 "$KVASS" eval -m "$stories" -f "$text" --json -t 1 --tokens 512 --score-from 257 \
        --path decode "$@"
    json "d['tokens_scored'] == 255" \
        "abs(d['ppl'] / $ppl - 1) <= 0.002" \
        "abs(d['kld_mean'] - $mean) <= max(0.05 * $mean, 0.5e-6)" \
        "abs(d['kld_max'] - $max) <= max(0.05 * $max, 0.5e-4)" \
        "abs(d['same_top'] * 100 - $same) <= 0.45"
}

row 2.7819 0 0 100 --kv-type f32
row 2.7816 0.000002 0.0000 100 --kv-type f16
row 2.8900 0.119420 1.9703 85.9 --kv-type f32 --window 32
row 2.7825 0.062274 2.2820 89.4 --kv-type f32 --window 64
row 2.7586 0.012239 0.4994 95.7 --kv-type f32 --window 128
row 2.7964 0.002802 0.5081 99.2 --kv-type f32 --window 256
row 2.7998 0.071625 2.3788 90.2 --kv-type f32 --window 60 --sinks 4
row 2.9909 0.152714 2.5750 83.9 --kv-type f32 --window 60 --sinks 4 --positions cache
row 2.7515 0.012688 0.3730 95.7 --kv-type f32 --window 124 --sinks 4
row 2.7741 0.031683 0.7842 91.0 --kv-type f32 --window 124 --sinks 4 --positions cache
row 2.9588 0.108787 4.7391 88.6 --kv-type f32 --topk-pages 2
row 2.7689 0.013561 1.0837 95.7 --kv-type f32 --topk-pages 4
row 2.7849 0.000561 0.0244 99.6 --kv-type f32 --topk-pages 8
row 2.8053 0.057686 0.9546 89.8 --kv-type f32 --topk-pages 2 --dense-layers 2
row 2.7894 0.013277 1.1318 95.7 --kv-type f32 --topk-pages 4 --dense-layers 2
row 2.7855 0.000572 0.0247 99.6 --kv-type f32 --topk-pages 8 --dense-layers 2
finish
