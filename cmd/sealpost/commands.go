package main

import "github.com/spf13/cobra"

// commands is every command of the binary.
func commands() []*cobra.Command {
	return []*cobra.Command{
		demoCommand(),
		serveCommand(),
		sendCommand(),
		deviceCommand(),
		messageCommand(),
		proveCommand(),
		verifyCommand(),
		faultCommand(),
		auditCommand(),
		logCommand(),
		keyCommand(),
		configCommand(),
		doctorCommand(),
		benchCommand(),
		labCommand(),
		versionCommand(),
		phonesCommand(),
	}
}
