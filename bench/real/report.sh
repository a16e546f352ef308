#!/bin/bash
# Draw the published report from the recordings, without a model: it only reads the geometry of the models' folders.
#
#     bash bench/real/report.sh SMALL LARGE HUMANEVAL BBH OUT [RUN...]
#
# SMALL and LARGE are the folders of the 0.5B and the 1.5B (bench/real/models.py), HUMANEVAL and BBH files of their
# questions, OUT is a new folder, and the RUNs are live runs that the page shows too. It takes about half an hour on
# two cores; nearly all of it runs programs.
set -euo pipefail
if [ $# -lt 5 ]; then
    sed -n '4s/# *//p' "$0"
    exit 2
fi
small=$1 large=$2 humaneval=$3 bbh=$4 out=$5
shift 5
recordings=$(dirname "$0")/../recordings
mkdir "$out"

for name in gsm8k math bbh humaneval; do
    for size in 0.5b 1.5b; do
        recording=$recordings/$name-qwen2.5-coder-$size.jsonl.gz
        if [ -e "$recording" ]; then
            gunzip -c "$recording" > "$out/replies.jsonl"
            reasoner pool "$out/replies.jsonl" --out "$out/$name-$size.jsonl"
        fi
    done
done
rm "$out/replies.jsonl"

runs=()
# run NAME MODEL POOL TASK OPTION...
run() {
    local name=$1 model=$2 pool=$3 task=$4
    shift 4
    reasoner eval "$task" --engine "pool:path=$out/$pool.jsonl,model_id=$model" --out "$out/$name" "$@"
    runs+=("$out/$name")
}

votes=(-s single -s single:temperature=0.7 -s self_consistency:n=16)
best=(-s best_of_n:n=16 -s best_of_n:n=16,selector=weighted)
both=(-s single -s self_consistency:n=8 -s best_of_n:n=8 -s best_of_n:n=8,selector=weighted)
stops=()
for rule in lossless beta price lock_in; do
    stops+=(-s "self_consistency:n=16,stop=$rule")
done

run humaneval "$small" humaneval-0.5b "humaneval:data=$humaneval" "${votes[@]}" "${best[@]}" --verifier code:tests=shown
run humaneval-large "$large" humaneval-1.5b "humaneval:data=$humaneval" "${both[@]}" --verifier code:tests=shown

run gsm8k "$small" gsm8k-0.5b "pool:$out/gsm8k-0.5b.jsonl" "${votes[@]}" "${stops[@]}" "${best[@]}"
run equations "$small" gsm8k-0.5b "pool:$out/gsm8k-0.5b.jsonl" -s best_of_n:n=16,selector=weighted --verifier equations

# The questions that both models answered
run gsm8k-small "$small" gsm8k-0.5b "pool:$out/gsm8k-1.5b.jsonl" -s single -s self_consistency:n=16
run gsm8k-large "$large" gsm8k-1.5b "pool:$out/gsm8k-1.5b.jsonl" "${both[@]}"
reasoner eval "pool:$out/gsm8k-1.5b.jsonl" --out "$out/gsm8k-mixture" \
    --engine "mixture:members=[pool(path=$out/gsm8k-0.5b.jsonl,model_id=$small),pool(path=$out/gsm8k-1.5b.jsonl,model_id=$large)],levels=none" \
    -s "escalate:n=2,then=single(temperature=0)" -s "escalate:n=4,then=single(temperature=0)"
runs+=("$out/gsm8k-mixture")

run math "$small" math-0.5b "pool:$out/math-0.5b.jsonl" "${votes[@]}" "${stops[@]:0:2}" "${best[@]}"

run bbh "$small" bbh-0.5b "bbh:data=$bbh" "${votes[@]}" "${stops[@]:0:2}" "${best[@]}"
python - "$bbh" "$out/bbh-1.5b.jsonl" > "$out/bbh-both.jsonl" <<'PYTHON'
import json
import sys

bbh, pool = (open(name, encoding="utf-8").read().splitlines() for name in sys.argv[1:])
ids = {json.loads(line)["question_id"] for line in pool}
print(*(line for line in bbh if json.loads(line)["id"] in ids), sep="\n")
PYTHON
run bbh-small "$small" bbh-0.5b "bbh:data=$out/bbh-both.jsonl" -s single -s self_consistency:n=16
run bbh-large "$large" bbh-1.5b "bbh:data=$out/bbh-both.jsonl" "${both[@]}"

reasoner report "${runs[@]}" "$@" --hide-questions --out "$out/report" \
    --title "Small models on HumanEval, GSM8K, MATH and BIG-Bench Hard"
