package quick

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// addGuard makes the guard's table, all or nothing.
func addGuard(s Guard, options ...nftables.ConnOption) error {
	c, err := nftables.New(options...)
	if err != nil {
		return explainNft(s, err)
	}
	table := c.AddTable(kernelTable(s.table()))
	chain := func(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: priority})
	}
	preraw := chain("preraw", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	premangle := chain("premangle", nftables.ChainHookPrerouting, nftables.ChainPriorityMangle)
	postmangle := chain("postmangle", nftables.ChainHookPostrouting, nftables.ChainPriorityMangle)
	add := func(chain *nftables.Chain, matches ...[]expr.Any) {
		rule := &nftables.Rule{Table: table, Chain: chain}
		for _, m := range matches {
			rule.Exprs = append(rule.Exprs, m...)
		}
		c.AddRule(rule)
	}
	for _, address := range s.Addresses {
		add(preraw, notFrom(s.Device), to(address), fromElsewhere, []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
	}
	add(postmangle, udp, marked(s.Mark), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true},
	})
	add(premangle, udp, []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true},
	})
	return explainNft(s, c.Flush())
}

// removeTable deletes a table; that it is not there is no error.
func removeTable(t NftTable) error {
	c, err := nftables.New()
	if err != nil {
		return wrap(err, "nftables")
	}
	c.DelTable(kernelTable(t))
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("deleting nftables' table %s: %w", t.Name, err)
	}
	return nil
}

func kernelTable(t NftTable) *nftables.Table {
	f := nftables.TableFamilyIPv4
	if t.Family == 6 {
		f = nftables.TableFamilyIPv6
	}
	return &nftables.Table{Family: f, Name: t.Name}
}

// explainNft says what could not be made.
func explainNft(s Guard, err error) error {
	return wrap(err, "the firewall table %s", s.table().Name)
}

// cannotGuard reports whether the kernel lacks what a guard is made of: all of
// nftables, or expressions.
func cannotGuard(err error) bool {
	for _, lack := range []error{unix.ENOENT, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}

// What follows are conditions, each by way of register 1.

var udp = []expr.Any{
	&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
	&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
}

// fromElsewhere: the source is no address of this machine.
var fromElsewhere = []expr.Any{
	&expr.Fib{Register: 1, FlagSADDR: true, ResultADDRTYPE: true},
	&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
}

func marked(mark uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
	}
}

func notFrom(device string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name},
	}
}

// to reads the destination where RFC 791 and RFC 8200 have it in the header.
func to(address netip.Addr) []expr.Any {
	offset := uint32(16)
	if address.Is6() {
		offset = 24
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(address.BitLen() / 8)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: address.AsSlice()},
	}
}
