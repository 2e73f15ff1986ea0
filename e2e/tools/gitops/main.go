// Says what Flux and Argo CD make of objects: reads a JSON list of them, writes a JSON list of verdicts in the same order.
//
// Flux asks kstatus. Argo CD runs a Lua script for kinds that it does not ship, by this interpreter and in a sandbox with
// these libraries; an object that is being deleted it takes for Progressing without asking. (Its own package for that,
// gitops-engine/pkg/health, cannot be built beside a kstatus of today: it needs a Kubernetes of 2022.)
//
//	gitops HEALTH.lua <objects.json
package main

import (
	"encoding/json"
	"fmt"
	"os"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type verdict struct {
	Kstatus     string `json:"kstatus"`
	KstatusSays string `json:"kstatusSays"`
	Argo        string `json:"argo"`
	ArgoSays    string `json:"argoSays"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: gitops HEALTH.lua <objects.json")
	}
	script, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var objects []json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return err
	}
	verdicts := make([]verdict, 0, len(objects))
	for i, raw := range objects {
		// Not encoding/json's map: kstatus wants whole numbers to be int64.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw); err != nil {
			return fmt.Errorf("object %d: %w", i, err)
		}
		one, err := judge(object, string(script))
		if err != nil {
			return fmt.Errorf("object %d: %w", i, err)
		}
		verdicts = append(verdicts, one)
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}

func judge(object *unstructured.Unstructured, script string) (verdict, error) {
	flux, err := status.Compute(object)
	if err != nil {
		return verdict{}, fmt.Errorf("kstatus: %w", err)
	}
	argo, says, err := health(object, script)
	if err != nil {
		return verdict{}, fmt.Errorf("argo cd: %w", err)
	}
	return verdict{Kstatus: string(flux.Status), KstatusSays: flux.Message, Argo: argo, ArgoSays: says}, nil
}

// health runs what stands in argocd-cm's resource.customizations.health.
func health(object *unstructured.Unstructured, script string) (string, string, error) {
	if object.GetDeletionTimestamp() != nil {
		return "Progressing", "Pending deletion", nil
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString,
	} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(script); err != nil {
		return "", "", err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", "", fmt.Errorf("the script returns a %s, not a table", state.Get(-1).Type())
	}
	status := table.RawGetString("status").String()
	switch status {
	case "Healthy", "Progressing", "Degraded", "Suspended":
		return status, table.RawGetString("message").String(), nil
	}
	return "", "", fmt.Errorf("the script returns the status %q, which Argo CD does not know", status)
}

// value turns JSON into Lua, as Argo CD does.
func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case float64:
		return lua.LNumber(from)
	case int64:
		return lua.LNumber(from)
	case string:
		return lua.LString(from)
	case []any:
		table := state.CreateTable(len(from), 0)
		for _, item := range from {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(from))
		for key, item := range from {
			table.RawSetH(lua.LString(key), value(state, item))
		}
		return table
	}
	return lua.LNil
}
