package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/policy"
)

func newPolicyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "the remediation policy: check, try, apply and compare it",
	}
	cmd.AddCommand(
		newPolicyCheckCommand(), newPolicySimulateCommand(), newPolicyApplyCommand(),
		newPolicyShowCommand(), newPolicyHistoryCommand(), newPolicyDiffCommand(),
	)
	return cmd
}

// policyCheck is the JSON form of 'policy check'. It is stable.
type policyCheck struct {
	File     string           `json:"file"`
	Digest   string           `json:"digest"`
	OK       bool             `json:"ok"`
	Problems []policy.Problem `json:"problems"`
}

func newPolicyCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "check a policy file",
		Long: `Check a policy file: errors make it unusable, warnings name what is looser than
the standard or may surprise. Every problem is listed, with its line.

Exit status: 0 usable (also with warnings), 1 errors, 2 wrong usage.`,
		Args: cobra.ExactArgs(1),
	}
	out := outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		src, err := readPolicy(args[0])
		if err != nil {
			return err
		}
		_, problems, err := policy.Parse(src)
		if err != nil && !errors.Is(err, policy.ErrInvalid) {
			return err
		}
		c := policyCheck{File: args[0], Digest: policy.Digest(src), OK: err == nil, Problems: problems}
		if c.Problems == nil {
			c.Problems = []policy.Problem{}
		}
		if *out == "json" {
			if err := printJSON(cmd.OutOrStdout(), c); err != nil {
				return err
			}
		} else {
			printPolicyCheck(cmd.OutOrStdout(), c)
		}
		if !c.OK {
			return fmt.Errorf("policy %s: %w", args[0], policy.ErrInvalid)
		}
		return nil
	}
	return cmd
}

func printPolicyCheck(w io.Writer, c policyCheck) {
	bad, doubts := 0, 0
	for _, p := range c.Problems {
		if p.Severity == policy.Error {
			bad++
		} else {
			doubts++
		}
		fmt.Fprintf(w, "%s: %s\n", p.Severity, clean(p.String()))
		if p.Hint != "" {
			fmt.Fprintf(w, "  hint: %s\n", clean(p.Hint))
		}
	}
	verdict := "usable"
	if !c.OK {
		verdict = "not usable"
	}
	fmt.Fprintf(w, "%s: %s, errors %d, warnings %d, digest %s\n", clean(c.File), verdict, bad, doubts, c.Digest)
}
