# One image for `sb serve`. It holds the program and certificates; Postgres and PostgREST run beside it.
# Build and run stand on the same Debian release, so that the C library is the same.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release && cp target/release/sb /usr/local/bin/sb

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin sb \
 && install -d -o sb -g sb /project
COPY --from=build /usr/local/bin/sb /usr/local/bin/sb

# The project's sb.toml and migrations/ are mounted here, or copied by an image that builds on this one.
WORKDIR /project
USER 10001:10001
ENV SB_HOST=0.0.0.0 SB_PORT=8000 LOG_FORMAT=json
EXPOSE 8000
STOPSIGNAL SIGTERM
# The image has no HTTP client, and bash can speak enough of it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s --retries=3 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$SB_PORT && printf 'GET /livez HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["sb"]
CMD ["serve"]
