// Package schedpb is the protocol between wg-bond and a scheduler in another
// process, and what turns it into the types of package schedulers and back:
//
//	schedulers.Snapshot → FromSnapshot → the wire → ToSnapshot → schedulers.Snapshot
//	schedulers.Plan     ← ToPlan       ← the wire ← FromPlan   ← schedulers.Plan
//
// scheduler.proto says what every field means and in which unit; it is the
// reference for plugins in any language.
package schedpb

//go:generate ./generate.sh

// Version is the protocol's, which go-plugin's handshake asks for.
const Version = 1

// CookieKey and CookieValue tell a plugin that wg-bond started it, and not a
// person: they are an environment variable and its value. They keep no secret.
const (
	CookieKey   = "WG_BOND_SCHEDULER"
	CookieValue = "5d0f4a3b8f6c4c1e"
)

// PluginName is what go-plugin calls the service.
const PluginName = "scheduler"
