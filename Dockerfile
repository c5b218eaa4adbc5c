# docker build -t pipette .
# docker run -p 8083:8083 -v pipette:/var/lib/pipette -v ./data:/data -v ./worker.properties:/etc/pipette/worker.properties:ro pipette

FROM rust:1.95-slim-trixie AS dependencies
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev make pkg-config libssl-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The manifests with empty sources: this layer, which takes minutes, stays while only our code changes.
COPY Cargo.toml Cargo.lock ./
COPY api/Cargo.toml api/
COPY broker/Cargo.toml broker/
COPY connectors/file/Cargo.toml connectors/file/
COPY connectors/lab-files/Cargo.toml connectors/lab-files/
COPY connectors/mqtt/Cargo.toml connectors/mqtt/
COPY libs/java/Cargo.toml libs/java/
COPY libs/json/Cargo.toml libs/json/
COPY libs/store/Cargo.toml libs/store/
COPY tests/kit/Cargo.toml tests/kit/
COPY transforms/claim-check/Cargo.toml transforms/claim-check/
COPY transforms/standard/Cargo.toml transforms/standard/
RUN for manifest in $(find . -name Cargo.toml); do \
      mkdir -p "$(dirname "$manifest")/src" && touch "$(dirname "$manifest")/src/lib.rs"; \
    done \
    && mkdir -p tests/it && touch tests/it/main.rs && echo 'fn main() {}' > src/main.rs \
    && cargo build --locked --release --bin pipette

FROM dependencies AS build
COPY . .
# Copied files keep their dates, which are older than the empty sources above.
RUN find . -name '*.rs' -exec touch {} + && cargo build --locked --release --bin pipette

FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libssl3t64 zlib1g ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/pipette --create-home pipette
COPY --from=build /build/target/release/pipette /usr/local/bin/pipette
COPY config/docker-worker.properties /etc/pipette/worker.properties
USER pipette
WORKDIR /var/lib/pipette
VOLUME /var/lib/pipette
EXPOSE 8083
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["pipette", "health"]
ENTRYPOINT ["pipette"]
CMD ["run", "/etc/pipette/worker.properties"]
