// Decisions of the Go SDK's sampler and of the Collector's sampling package:
// decide SAMPLER RATIO... < ids > bytes, or decide th RATIO... for th values of four digits.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/sampling"
	"go.opentelemetry.io/collector/pdata/pcommon"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	var ids []byte
	if os.Args[1] != "th" {
		var err error
		ids, err = io.ReadAll(os.Stdin)
		check(err)
	}
	for _, arg := range os.Args[2:] {
		ratio, err := strconv.ParseFloat(arg, 64)
		check(err)
		if os.Args[1] == "th" {
			threshold, err := sampling.ProbabilityToThresholdWithPrecision(ratio, 4)
			check(err)
			fmt.Fprintln(out, threshold.TValue())
			continue
		}
		threshold, err := sampling.ProbabilityToThreshold(ratio)
		check(err)
		legacy := sdk.TraceIDRatioBased(ratio)
		for i := 0; i < len(ids); i += 16 {
			id := [16]byte(ids[i : i+16])
			var keep bool
			if os.Args[1] == "probability" {
				keep = threshold.ShouldSample(sampling.TraceIDToRandomness(pcommon.TraceID(id)))
			} else {
				asked := sdk.SamplingParameters{ParentContext: context.Background(), TraceID: id}
				keep = legacy.ShouldSample(asked).Decision == sdk.RecordAndSample
			}
			if keep {
				check(out.WriteByte(1))
			} else {
				check(out.WriteByte(0))
			}
		}
	}
}
