#!/usr/bin/python3
"""A scheduler for wg-bond in Python: lowest delay first.

Debian: apt install python3-grpcio python3-protobuf python3-cryptography

plan() is the scheduler; the rest is what every plugin in Python needs. The
messages are described in plugins/schedpb/scheduler.proto, from which
scheduler_pb2.py beside this file was made:

    protoc --python_out=. -I plugins/schedpb scheduler.proto

Try it:

    wg-bond scheduler test plugins/examples/python/nearest.py
"""

import base64
import concurrent.futures
import datetime
import os
import sys

NAME, DOES = "nearest", "lowest delay first, in Python"


# ---- the scheduler -------------------------------------------------------

NO_CAP = 2**31 - 1


def usable(paths):
    """The paths to send by: active ones, backups only if there are no others."""
    from scheduler_pb2 import PATH_STATE_ACTIVE as ACTIVE, PATH_STATE_DEAD as DEAD
    active = [p for p in paths if p.state == ACTIVE]
    return (
        [p for p in active if not p.backup]
        or active
        or [p for p in paths if p.state != DEAD]
        or list(paths)
    )


def sound(value, least, most, otherwise):
    """value, if it is a number between least and most."""
    return value if least <= value <= most else otherwise


def plan(snapshot, answer):
    """Fills answer, a SchedulerPlan, for snapshot, a Snapshot."""
    answer.valid_ns = 200_000_000
    for p in snapshot.paths:  # handshakes by every path: they are few
        answer.control.paths.add(path=p.id, cap_bytes=NO_CAP)
        answer.control.copies.append(p.id)
    for p in usable(snapshot.paths):
        rate = sound(p.rate_bytes_per_second, 1000, 1e12, 125_000)
        rtt = sound(p.min_rtt_ns, 1, 10e9, 100e6)
        # A packet arrives after half the round trip and what waits before it.
        part = dict(path=p.id, base_ns=rtt / 2, per_byte_ns=1e9 / rate, cap_bytes=int(min(NO_CAP, rate * rtt / 1e9)))
        answer.small.paths.add(**part)
        answer.bulk.paths.add(**part)
        answer.drains.add(path=p.id, bytes_per_second=rate)


def configure(parameters):
    """Yields (key, found, want) for each mistake in parameters, a dict."""
    for key in parameters:
        yield key, f"the unknown key {key!r}", "nothing: it takes no parameters"


# ---- what every plugin in Python needs -----------------------------------


def main():
    if os.environ.get("WG_BOND_SCHEDULER") != "5d0f4a3b8f6c4c1e":
        sys.exit(f"{NAME} is a scheduler for wg-bond, which starts it; try\n\n    wg-bond scheduler test {sys.argv[0]}")
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import grpc
    import scheduler_pb2 as pb
    from google.protobuf import json_format

    def configure_rpc(request, context):
        answer = pb.ConfigureResponse(name=NAME, does=DOES)
        for key, found, want in configure(json_format.MessageToDict(request.parameters)):
            answer.problems.add(key=[key], found=found, want=want)
        return answer

    def plan_rpc(snapshots, context):
        for snapshot in snapshots:
            answer = pb.SchedulerPlan(seq=snapshot.seq)
            plan(snapshot, answer)
            yield answer

    # Each session keeps one thread.
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=64))
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("wgbond.scheduler.v1.Scheduler", {
            "Configure": grpc.unary_unary_rpc_method_handler(
                configure_rpc, pb.ConfigureRequest.FromString, pb.ConfigureResponse.SerializeToString),
            "Plan": grpc.stream_stream_rpc_method_handler(
                plan_rpc, pb.Snapshot.FromString, pb.SchedulerPlan.SerializeToString),
        }),
    ))
    # Both sides show a certificate made for this run: go-plugin's AutoMTLS.
    key, certificate, der = make_certificate()
    socket = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "plugin")
    server.add_secure_port("unix:" + socket, grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=os.environ["PLUGIN_CLIENT_CERT"].encode(), require_client_auth=True))
    server.start()
    # The handshake: go-plugin's version, ours, where, how, our certificate.
    print("1|1|unix|" + socket + "|grpc|" + base64.b64encode(der).decode().rstrip("="), flush=True)
    server.wait_for_termination()


def make_certificate():
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.utcnow()
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1)).not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()),
        certificate.public_bytes(serialization.Encoding.PEM),
        certificate.public_bytes(serialization.Encoding.DER),
    )


if __name__ == "__main__":
    main()
