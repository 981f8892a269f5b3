package conn

import (
	"net/netip"
	"sync/atomic"

	"github.com/wg-bond/wg-bond/conn/mux"
	"github.com/wg-bond/wg-bond/wgbond"
)

// Endpoint is where wireguard-go sends a peer's datagrams. There are two
// kinds, alike from outside:
//
//   - an address, of a plain peer or of one that we dial. Whether it is bonded
//     is looked up with every batch, since peers may be set at any time;
//   - a session, of a peer that dials us. It stays the same object however the
//     peer's addresses change.
//
// Endpoints are shared: by all datagrams of an address or session.
type Endpoint struct {
	addr    netip.AddrPort // of the first kind
	session *mux.Session   // of the second kind
	dialled *mux.Dialled   // whose peer is there, or says so if foreign; nil: look it up
	foreign bool           // see mux.DialConfig.Foreign
	src     atomic.Pointer[netip.Addr]
}

// remote is where the endpoint leads at present.
func (e *Endpoint) remote() wgbond.Remote {
	if e.session != nil {
		return e.session.Remote()
	}
	if e.dialled != nil {
		return wgbond.Remote{Peer: e.dialled.Target()}
	}
	r := wgbond.Remote{Peer: e.addr}
	if src := e.src.Load(); src != nil {
		r.Local = *src
	}
	return r
}

// ClearSrc forgets the local address that answers are sent from.
func (e *Endpoint) ClearSrc() { e.src.Store(nil) }

// SrcToString is the local address, or empty if it is not known.
func (e *Endpoint) SrcToString() string {
	if a := e.SrcIP(); a.IsValid() {
		return a.String()
	}
	return ""
}

// DstToString is the peer's address as "ip:port", bonded or not: wg(8) passes
// it to getaddrinfo.
func (e *Endpoint) DstToString() string { return e.remote().Peer.String() }

// DstToBytes is the peer's address in the form that cookies are made of.
func (e *Endpoint) DstToBytes() []byte {
	b, _ := e.remote().Peer.MarshalBinary() // its error is always nil
	return b
}

// DstIP is the peer's address.
func (e *Endpoint) DstIP() netip.Addr { return e.remote().Peer.Addr() }

// SrcIP is the local address, or the zero Addr.
func (e *Endpoint) SrcIP() netip.Addr { return e.remote().Local }
