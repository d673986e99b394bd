# Published numbers: the text of a known checkpoint by every path, its score on held-out stories.
. "${ROOT:?}/tests/cli/lib.sh" || exit 99
stories=$shared/models/stories260K
[ -e "$stories/stories260K.bin" ] || skip "no shared data"
want=$stories/expected_greedy_200steps.txt

for file in stories260K.bin stories260K_v1.bin; do
    expect 0 "$KVASS" generate -m "$stories/$file" --temp 0 -n 200 -p ''
    same "$out" "$want"
    for cache in full none; do
        for threads in 1 2; do
            for batch in 1 7 512; do
                expect 0 "$KVASS" generate -m "$stories/$file" --temp 0 -n 200 -p '' --kv-type f32 \
                    --cache $cache -t $threads --batch $batch
                same "$out" "$want"
            done
        done
    done
done

expect 0 "$KVASS" eval -m "$stories/stories260K.bin" --json --split stories \
    -f "$shared/corpora/tinystories/natural-0.9MB.txt"
json 'd["bytes_scored"] == 45565 and round(d["bits_per_byte"], 3) == 1.109'
json 'd["kld_mean"] <= 1e-4 and d["same_top"] >= 0.999'

# tokenizers beside the model, by name and by size
expect 0 "$KVASS" inspect --json "$shared/models/stories-tok105/model5000.bin"
json 'd["tokenizer"]["n_vocab"] == 105'
expect 0 "$KVASS" inspect --json "$shared/models/llama2c-v2-q8/model_qint80.bin"
json 'd["tokenizer"]["n_vocab"] == 1024 and d["format"] == "llama2.c v2"'
expect 3 "$KVASS" generate -m "$shared/models/stories-xs/model.bin" "Once"
says "--tokenizer"
expect 0 "$KVASS" generate -m "$shared/models/stories-xs/model.bin" \
    --tokenizer "$stories/tok512.bin" --temp 0 -n 5 "Once"
expect 3 "$KVASS" generate -m "$stories/stories260K.bin" \
    --tokenizer "$shared/models/llama2c-v2-q8/tok1024.bin" "Once"
says "512"
says "1024"
finish
