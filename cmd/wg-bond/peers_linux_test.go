package main

import (
	"testing"

	"github.com/wg-bond/wg-bond/cmd/internal/nstest"
)

// TestPeersFollowed: peers that `wg set` takes from a running server, and gives
// it, lose their bond and get it, while another's goes on.
func TestPeersFollowed(t *testing.T) {
	for _, role := range []string{"serve", "up"} {
		t.Run(role, func(t *testing.T) {
			ms := machines(t, 2)
			client, server := ms[0], ms[1]
			nstest.Cable(client.Namespace, server.Namespace, "wgbt-p1", "10.99.1.1/24", "10.99.1.2/24")
			const at = "wgbt-f1"
			if role == "serve" {
				server.serve(at)
			} else {
				server.up(server.file(at+".conf", "[Interface]\nPrivateKey = "+privateB+"\nListenPort = 51820\nAddress = 10.77.0.1/24\n[Peer]\nPublicKey = "+publicA+"\nAllowedIPs = 10.77.0.2/32\n"))
			}
			// Two clients on one machine: A, whom the server knows, and C, whom it will.
			up := func(name, private, address string) {
				client.file(name+".bond.toml", "[[path]]\ndevice = \"wgbt-p1\"\n")
				client.up(client.file(name+".conf", "[Interface]\nPrivateKey = "+private+"\nAddress = "+address+"\nTable = off\n[Peer]\nPublicKey = "+publicB+
					"\nAllowedIPs = 10.77.0.1/32\nEndpoint = 10.99.1.2:51820\nPersistentKeepalive = 1\n"))
			}
			// bonded is who is, at the server.
			bonded := func() map[string]bool {
				is := map[string]bool{}
				for _, p := range server.status(at).Peers {
					is[p.PublicKey] = p.Bond != nil && p.Bond.Bonded
				}
				return is
			}
			up("wgbt-fa", privateA, "10.77.0.2/32")
			eventually(t, "A's bond", func() bool { return bonded()[publicA] })
			server.Run("wg", "set", at, "peer", publicC, "allowed-ips", "10.77.0.3/32")
			up("wgbt-fc", privateC, "10.77.0.3/32")
			eventually(t, "C's bond", func() bool { b := bonded(); return b[publicA] && b[publicC] })
			client.Run("ping", "-c", "2", "-w", "60", "-I", "wgbt-fc", "10.77.0.1")
			server.Run("wg", "set", at, "peer", publicA, "remove")
			eventually(t, "the end of A's bond alone", func() bool { b := bonded(); return !b[publicA] && b[publicC] })
			server.Run("wg", "set", at, "peer", publicA, "allowed-ips", "10.77.0.2/32")
			eventually(t, "A's bond again", func() bool { b := bonded(); return b[publicA] && b[publicC] })
			// (That its keys are gone A's WireGuard notices after 15 s, bonded or not.)
		})
	}
}
