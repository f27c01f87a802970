// Command scanner scans one root and prints what that cost. It exists for
// measurements.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/patchproof/patchproof/agent/scan"
)

func main() {
	r, packages, err := scan.Run(context.Background(), scan.Options{Root: os.Args[1], Now: time.Now})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("packages=%d gaps=%d peak=%d cpu=%d\n", len(packages), len(r.Gaps), r.Cost.PeakRSS, r.Cost.CPU)
}
