#!/bin/bash
# Draw the published report in this folder from the recordings, without a model: of the models' folders only their
# geometry is read.
#
#     bash CLONE/bench/real/report.sh SMALL LARGE HUMANEVAL BBH [RUN...]
#
# SMALL and LARGE are the folders of the 0.5B and the 1.5B (bench/real/models.py), HUMANEVAL and BBH the files of their
# questions. The RUNs are live runs that the report shows too. Runs that are in this folder already are not made again.
# It took about half an hour on two busy cores, nearly all of it to run programs.
set -euo pipefail
if [ $# -lt 4 ]; then
    sed -n '5s/# *//p' "$0" >&2
    exit 2
fi
small=$1 large=$2 humaneval=$3 bbh=$4
shift 4
recordings=$(dirname "$0")/../recordings

for name in gsm8k math bbh humaneval; do
    for size in 0.5b 1.5b; do
        recording=$recordings/$name-qwen2.5-coder-$size.jsonl.gz
        if [ -e "$recording" ]; then
            cp "$recording" "$name-$size.jsonl.gz"
        fi
    done
done
# The questions of BIG-Bench Hard that both models answered
asked=$(gunzip -c bbh-1.5b.jsonl.gz | grep -o '"question_id": "[^"]*"' | sed 's/question_//' | sort -u)
grep -F "$asked" "$bbh" > bbh-both.jsonl

runs=()
# run NAME ENGINE TASK OPTION...
run() {
    local name=$1 engine=$2 task=$3
    shift 3
    if [ ! -e "$name" ]; then
        reasoner eval "$task" --engine "$engine" --out "$name" "$@"
    fi
    runs+=("$name")
}
of_small() { echo "pool:path=$1-0.5b.jsonl.gz,model_id=$small"; }
of_large() { echo "pool:path=$1-1.5b.jsonl.gz,model_id=$large"; }

votes=(-s single -s single:temperature=0.7 -s self_consistency:n=16)
best=(-s best_of_n:n=16 -s best_of_n:n=16,selector=weighted)
few=(-s single -s self_consistency:n=8 -s best_of_n:n=8 -s best_of_n:n=8,selector=weighted)
stops=()
for rule in lossless beta price lock_in; do
    stops+=(-s "self_consistency:n=16,stop=$rule")
done
shown=(--verifier code:tests=shown)

run humaneval "$(of_small humaneval)" "humaneval:path=$humaneval" "${votes[@]}" "${best[@]}" "${shown[@]}"
run humaneval-large "$(of_large humaneval)" "humaneval:path=$humaneval" "${few[@]}" "${shown[@]}"

run gsm8k "$(of_small gsm8k)" pool:gsm8k-0.5b.jsonl.gz "${votes[@]}" "${stops[@]}" "${best[@]}"
run equations "$(of_small gsm8k)" pool:gsm8k-0.5b.jsonl.gz -s best_of_n:n=16,selector=weighted --verifier equations

# The questions that both models answered
run gsm8k-small "$(of_small gsm8k)" pool:gsm8k-1.5b.jsonl.gz -s single -s self_consistency:n=16
run gsm8k-large "$(of_large gsm8k)" pool:gsm8k-1.5b.jsonl.gz "${few[@]}"

run math "$(of_small math)" pool:math-0.5b.jsonl.gz "${votes[@]}" "${stops[@]:0:4}" "${best[@]}"

run bbh "$(of_small bbh)" "bbh:path=$bbh" "${votes[@]}" "${stops[@]:0:4}" "${best[@]}"
run bbh-small "$(of_small bbh)" bbh:path=bbh-both.jsonl -s single -s self_consistency:n=16
run bbh-large "$(of_large bbh)" bbh:path=bbh-both.jsonl "${few[@]}"

reasoner report "${runs[@]}" "$@" --hide-questions --out report \
    --title "Small models on HumanEval, GSM8K, MATH and BIG-Bench Hard"
