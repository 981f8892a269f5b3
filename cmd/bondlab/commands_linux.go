package main

// labCommands are the commands that need Linux's namespaces.
type labCommands struct {
	Run    runCmd    `cmd:"" help:"Build a scenario's laboratory, measure in it, and print the figures."`
	Peers  peersCmd  `cmd:"" help:"Try every WireGuard with every server, and print which work together."`
	Bench  benchCmd  `cmd:"" help:"Measure the design's table: every scenario beside its aim, its peers and virtual time."`
	Relays relaysCmd `cmd:"" help:"Measure what relaying costs the processor: relayd, the kernel's own forward, a TURN server."`
	List   listCmd   `cmd:"" help:"List the scenarios."`
	Clean  cleanCmd  `cmd:"" help:"Remove what killed runs left."`
	Shell  shellCmd  `cmd:"" help:"Run a command in a host of a running laboratory."`

	Web   webCmd   `cmd:"" hidden:"" help:"The web host's server; bondlab run starts it."`
	Turn  turnCmd  `cmd:"" hidden:"" help:"The TURN server; bondlab relays starts it."`
	Enter enterCmd `cmd:"" hidden:"" help:"The inner half of shell."`
}
