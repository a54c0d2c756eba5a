"""A Flask application that prints who asks for what; also what gunicorn serves."""

import os

from flask import Flask, request

app = Flask(__name__)


@app.route("/", methods=["GET", "POST"])
def serve() -> str:
    print(
        f"{os.getpid()} {request.remote_addr} {request.method} {request.full_path} {len(request.get_data())}",
        flush=True,
    )
    return "local\n"


if __name__ == "__main__":
    app.run("0.0.0.0", 8080)
