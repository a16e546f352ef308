"""Ask a running server with OpenAI's client: first `reasoner serve --engine simulated`, then `pip install openai`."""

import os

from openai import OpenAI

if __name__ == "__main__":
    # On a server with keys, api_key is one of them.
    client = OpenAI(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key="none",
    )
    model = client.models.list().data[0].id
    question = "What is 3 + 4?"
    reply = client.chat.completions.create(
        model=f"{model}@vote8", messages=[{"role": "user", "content": question}]
    )
    print(reply.choices[0].message.content)
    report = (reply.model_extra or {})["reasoner"]
    print(
        ", ".join(
            f"{vote['answer']} has {vote['count']} votes" for vote in report["votes"]
        )
    )
    print(
        f"{report['cost']['tokens']:,} tokens computed, ended by {report['ended_by']}"
    )
