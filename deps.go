//go:build deps

package deps

import (
	_ "github.com/alecthomas/kong"
	_ "github.com/flynn/noise"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/hashicorp/go-hclog"
	_ "github.com/hashicorp/go-plugin"
	_ "github.com/pelletier/go-toml/v2"
	_ "github.com/vishvananda/netlink"
	_ "github.com/vishvananda/netns"
	_ "go.uber.org/goleak"
	_ "golang.org/x/crypto/blake2s"
	_ "golang.org/x/net/ipv4"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "golang.zx2c4.com/wireguard/device"
	_ "golang.zx2c4.com/wireguard/ipc"
	_ "golang.zx2c4.com/wireguard/tun/netstack"
	_ "golang.zx2c4.com/wireguard/wgctrl"
	_ "gonum.org/v1/plot"
	_ "gonum.org/v1/plot/plotter"
	_ "gonum.org/v1/plot/vg/vgimg"
	_ "google.golang.org/grpc"
	_ "google.golang.org/protobuf/proto"
	_ "gvisor.dev/gvisor/pkg/tcpip"
)
