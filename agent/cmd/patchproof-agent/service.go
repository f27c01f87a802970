package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"
)

// serviceName is the service's name in the system's manager.
const serviceName = "patchproof-agent"

const managerHint = "this needs root and the system's own service manager"

func (c *command) service() *cobra.Command {
	parent := &cobra.Command{
		Use:   "service",
		Short: "Install, uninstall, start or stop the agent as a service of this system",
		Long: `Install, uninstall, start or stop the agent as a service of this system.

These commands run the system's own service tool; no other command of the agent
runs a program.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return &usageError{errors.New("a command is needed"), "see " + cmd.CommandPath() + " --help"}
		},
	}
	for action, short := range map[string]string{
		"install":   "Install the service; it runs `patchproof-agent run`",
		"uninstall": "Remove the service; keys and spool stay",
		"start":     "Start the service",
		"stop":      "Stop the service",
	} {
		parent.AddCommand(&cobra.Command{
			Use: action, Short: short, Args: noArgs,
			RunE: func(*cobra.Command, []string) error { return c.control(action) },
		})
	}
	parent.AddCommand(
		&cobra.Command{
			Use: "status", Short: "Print whether the service runs", Args: noArgs,
			RunE: func(*cobra.Command, []string) error { return c.serviceStatus() },
		},
		// The Windows service manager talks to the process it starts.
		&cobra.Command{
			Use: "run", Hidden: true, Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return c.runAsService(cmd) },
		},
	)
	return parent
}

func (c *command) manage(program service.Interface) (service.Service, error) {
	arguments := []string{"run"}
	if runtime.GOOS == "windows" {
		arguments = []string{"service", "run"}
	}
	if c.configPath != "" {
		path, err := filepath.Abs(c.configPath)
		if err != nil {
			return nil, err
		}
		arguments = append(arguments, "--config", path)
	}
	return service.New(program, &service.Config{
		Name: serviceName, DisplayName: "Patchproof agent",
		Description:  "States what is on this host, signed, until the collector has it on record",
		Arguments:    arguments,
		Dependencies: dependencies(),
		Option:       service.KeyValue{"Restart": "on-failure"},
	})
}

func dependencies() []string {
	if runtime.GOOS != "linux" {
		return nil
	}
	return []string{"After=network-online.target", "Wants=network-online.target"}
}

func (c *command) control(action string) error {
	s, err := c.manage(&program{})
	if err != nil {
		return fmt.Errorf("service %s: %w", action, err)
	}
	if err := service.Control(s, action); err != nil {
		return &hinted{fmt.Errorf("service %s: %w", action, err), managerHint}
	}
	c.say("service %s: done", action)
	return nil
}

func (c *command) serviceStatus() error {
	s, err := c.manage(&program{})
	if err != nil {
		return fmt.Errorf("service status: %w", err)
	}
	status, err := s.Status()
	if errors.Is(err, service.ErrNotInstalled) {
		return &hinted{errors.New("service status: not installed"), "run: patchproof-agent service install"}
	}
	if err != nil {
		return &hinted{fmt.Errorf("service status: %w", err), managerHint}
	}
	word := map[service.Status]string{service.StatusRunning: "running", service.StatusStopped: "stopped"}[status]
	_, err = fmt.Fprintln(c.stdout, firstOf(word, "unknown"))
	return err
}

// program lets a service manager start and stop the loops.
type program struct {
	run  func(context.Context) error
	stop context.CancelFunc
	done chan error
}

// Start starts the loops and returns, as the manager asks.
func (p *program) Start(s service.Service) error {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() {
		err := p.run(ctx)
		p.done <- err
		if err != nil && ctx.Err() == nil {
			_ = s.Stop() // the loops' error is the one to tell
		}
	}()
	return nil
}

// Stop ends the loops and waits for them.
func (p *program) Stop(service.Service) error {
	p.stop()
	return nil
}

func (c *command) runAsService(cmd *cobra.Command) error {
	p := &program{done: make(chan error, 1), run: func(ctx context.Context) error { return c.runLoops(ctx, cmd) }}
	s, err := c.manage(p)
	if err != nil {
		return fmt.Errorf("service run: %w", err)
	}
	if err := s.Run(); err != nil {
		return fmt.Errorf("service run: %w", err)
	}
	return <-p.done
}
