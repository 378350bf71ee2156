package agents

import (
	"context"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agents"
	"github.com/coderclaw/gateway/pkg/wire"
)

// AgentsFilesList handles agents.files.list.
func (s *Service) AgentsFilesList(_ context.Context, _ *wire.Peer, p protocol.AgentsFilesListParams) (protocol.AgentsFilesListResult, error) {
	a, files, err := s.agents.Files(p.AgentID)
	if err != nil {
		return protocol.AgentsFilesListResult{}, err
	}
	result := protocol.AgentsFilesListResult{AgentID: a.ID, Workspace: a.Workspace, Files: make([]protocol.AgentsFileEntry, 0, len(files))}
	for _, f := range files {
		result.Files = append(result.Files, entry(f))
	}
	return result, nil
}

// AgentsFilesGet handles agents.files.get. A missing file is told as such.
func (s *Service) AgentsFilesGet(_ context.Context, _ *wire.Peer, p protocol.AgentsFilesGetParams) (protocol.AgentsFilesGetResult, error) {
	a, f, err := s.agents.ReadFile(p.AgentID, p.Name)
	if err != nil {
		return protocol.AgentsFilesGetResult{}, err
	}
	return protocol.AgentsFilesGetResult{AgentID: a.ID, Workspace: a.Workspace, File: whole(f)}, nil
}

// AgentsFilesSet handles agents.files.set.
func (s *Service) AgentsFilesSet(_ context.Context, _ *wire.Peer, p protocol.AgentsFilesSetParams) (protocol.AgentsFilesSetResult, error) {
	a, f, err := s.agents.WriteFile(p.AgentID, p.Name, p.Content, given(p.BaseHash))
	if err != nil {
		return protocol.AgentsFilesSetResult{}, err
	}
	return protocol.AgentsFilesSetResult{Ok: true, AgentID: a.ID, Workspace: a.Workspace, File: whole(f)}, nil
}

// entry tells of a file without what it says.
func entry(f agents.File) protocol.AgentsFileEntry {
	out := protocol.AgentsFileEntry{Name: f.Name, Path: f.Path, Missing: f.Missing}
	if !f.Missing {
		out.Size, out.UpdatedAtMs = wire.Some(f.Size), wire.Some(f.UpdatedMs)
	}
	return out
}

func whole(f agents.File) protocol.AgentsFileEntry {
	out := entry(f)
	if !f.Missing {
		out.Content, out.Hash = wire.Some(f.Content), text(f.Hash)
	}
	return out
}
