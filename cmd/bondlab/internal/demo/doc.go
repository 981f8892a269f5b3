// Package demo repeats the project's founding experiment in one process, for
// anyone who has a terminal: a file comes down over one mobile link, then
// over two, one of them lent by a neighbour.
//
//	borrower                                                  server
//	HTTP client                                               web host
//	 netstack                                                 netstack
//	 wireguard-go                                             wireguard-go, stock
//	 conn.Bind ══ own modem ═════════════════════════════════ shim
//	     ╚═ Wi-Fi ══ relayd ══ the neighbour's modem ═════════╝
//
// Everything but the links (and the kernel's TCP/IP) is what runs in earnest:
// real sockets on the loopback network, the real engine, relay and shim. The
// links (══) are the emulated ones of wgbond/sim. No root, no namespaces.
package demo
