// Prints, for each executable named on the command line, the offsets inside Go's own structures that the agent
// needs, as DWARF tells them, and what the executable itself prints, which are type hashes.
// One line an executable: its path, then name=value.
package main

import (
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Members, in the order of the agent's table. A member that the version lacks is printed as -1.
var members = []struct{ name, owner, path string }{
	{"g_m", "runtime.g", "m"},
	{"g_goid", "runtime.g", "goid"},
	{"g_parent", "runtime.g", "parentGoid"},
	{"m_curg", "runtime.m", "curg"},
	{"m_p", "runtime.m", "p"},
	{"m_oldp", "runtime.m", "oldp"},
	{"p_cache", "runtime.p", "goidcache"},
	{"p_cache_end", "runtime.p", "goidcacheend"},
	{"pc_conn", "net/http.persistConn", "conn"},
	{"pc_is_client", "net/http.persistConn", "isClientConn"},
	{"conn_fd", "net.conn", "fd"},
	{"fd_sysfd", "net.netFD", "pfd.Sysfd"},
	{"req_ctx", "net/http.Request", "ctx"},
	{"g_startpc", "runtime.g", "startpc"},
	{"itab_hash", "", ""},
	{"sched_goidgen", "runtime.schedt", "goidgen"},
	{"treq_request", "net/http.transportRequest", "Request"},
	{"cancel_parent", "context.cancelCtx", "Context"},
	{"timer_parent", "context.timerCtx", "cancelCtx.Context"},
	{"value_parent", "context.valueCtx", "Context"},
	{"without_parent", "context.withoutCancelCtx", "c"},
}

func main() {
	for _, path := range os.Args[1:] {
		if err := show(path); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
			os.Exit(1)
		}
	}
}

func show(path string) error {
	file, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	types, err := structures(file)
	if err != nil {
		return err
	}
	line := []string{path}
	for _, member := range members {
		offset := int64(-1)
		if member.owner == "" {
			offset, _ = first(types, []string{"internal/abi.ITab", "runtime.itab"}, []string{"Hash", "hash"})
		} else if found, ok := find(types, member.owner, member.path); ok {
			offset = found
		}
		line = append(line, fmt.Sprintf("%s=%d", member.name, offset))
	}
	hashes, err := exec.Command(path).Output()
	if err != nil {
		return err
	}
	line = append(line, string(hashes))
	fmt.Println(strings.Join(line, " "))
	return nil
}

func structures(file *elf.File) (map[string]*dwarf.StructType, error) {
	data, err := file.DWARF()
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{"internal/abi.ITab": true, "runtime.itab": true}
	for _, member := range members {
		wanted[member.owner] = true
	}
	types := map[string]*dwarf.StructType{}
	reader := data.Reader()
	for {
		entry, err := reader.Next()
		if err != nil {
			return nil, err
		}
		if entry == nil {
			return types, nil
		}
		name, _ := entry.Val(dwarf.AttrName).(string)
		if entry.Tag != dwarf.TagStructType || !wanted[name] {
			continue
		}
		kind, err := data.Type(entry.Offset)
		if err != nil {
			return nil, err
		}
		if structure, ok := kind.(*dwarf.StructType); ok {
			types[name] = structure
		}
	}
}

func first(types map[string]*dwarf.StructType, owners, paths []string) (int64, bool) {
	for index, owner := range owners {
		if offset, ok := find(types, owner, paths[index]); ok {
			return offset, true
		}
	}
	return -1, false
}

func find(types map[string]*dwarf.StructType, owner, path string) (int64, bool) {
	structure := types[owner]
	total := int64(0)
	parts := strings.Split(path, ".")
	for index, part := range parts {
		if structure == nil {
			return 0, false
		}
		var field *dwarf.StructField
		for _, candidate := range structure.Field {
			if candidate.Name == part {
				field = candidate
			}
		}
		if field == nil {
			return 0, false
		}
		total += field.ByteOffset
		if index+1 < len(parts) {
			structure = strip(field.Type)
		}
	}
	return total, true
}

func strip(kind dwarf.Type) *dwarf.StructType {
	for {
		switch typed := kind.(type) {
		case *dwarf.TypedefType:
			kind = typed.Type
		case *dwarf.StructType:
			return typed
		default:
			return nil
		}
	}
}
