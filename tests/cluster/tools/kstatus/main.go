// What Flux makes of an object: its status by kstatus, or by the expressions of a Kustomization's healthCheckExprs.
//
// Reads a JSON list of {"object": {...}, "exprs": {"current": "...", ...}} (exprs may be absent) from standard input and
// writes a list of {"status": "...", "message": "...", "error": "..."} in the same order.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type question struct {
	Object *unstructured.Unstructured        `json:"object"`
	Exprs  *kustomize.HealthCheckExpressions `json:"exprs"`
}

type answer struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	Error   string `json:"error"`
}

func main() {
	var asked []question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, "cannot read the objects:", err)
		os.Exit(2)
	}
	answers := make([]answer, 0, len(asked))
	for _, one := range asked {
		found, err := answered(one)
		if err != nil {
			found.Error = err.Error()
		}
		answers = append(answers, found)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fmt.Fprintln(os.Stderr, "cannot write the answers:", err)
		os.Exit(2)
	}
}

func answered(one question) (answer, error) {
	if one.Exprs == nil {
		result, err := status.Compute(one.Object)
		if err != nil {
			return answer{}, err
		}
		return answer{Status: result.Status.String(), Message: result.Message}, nil
	}
	evaluator, err := cel.NewStatusEvaluator(one.Exprs)
	if err != nil {
		return answer{}, err
	}
	result, err := evaluator.Evaluate(context.Background(), one.Object)
	if err != nil {
		return answer{}, err
	}
	return answer{Status: result.Status.String(), Message: result.Message}, nil
}
