#!/bin/sh
# Makes scheduler.pb.go and scheduler_grpc.pb.go. It needs protoc 3.21 (Debian:
# protobuf-compiler); the plugins for Go are pinned here.
set -eu
cd "$(dirname "$0")"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11
GOBIN=$bin go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.1
PATH=$bin:$PATH protoc --go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative scheduler.proto
protoc --python_out=../examples/python scheduler.proto
