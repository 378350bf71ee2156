package conformance

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/coderclaw/gateway/gen/protocol"
)

// connectParams keeps connect's params member by member, so that those which the
// replay does not touch, unknown ones included, go out as recorded.
type connectParams map[string]json.RawMessage

// handshake reads what the signature covers.
func (p connectParams) handshake() (handshake, error) {
	var view struct {
		Client struct{ ID, Mode string }
		Role   string
		Scopes []string
		Auth   struct{ Token string }
		Device *deviceProof
	}
	if err := json.Unmarshal(encode(p), &view); err != nil {
		return handshake{}, fmt.Errorf("recorded connect params: %w", err)
	}
	return handshake{clientID: view.Client.ID, clientMode: view.Client.Mode, role: view.Role, scopes: view.Scopes,
		token: view.Auth.Token, device: view.Device}, nil
}

// set replaces a member.
func (p connectParams) set(name string, value any) {
	p[name] = encode(value)
}

// resign returns a recorded connect request with our secrets, our device and a
// fresh signature. A handshake without a device stays as it was but for the token.
func (r *replay) resign(raw, id json.RawMessage) (json.RawMessage, error) {
	var request map[string]json.RawMessage
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, err
	}
	if request["params"] == nil {
		return raw, nil
	}
	var params connectParams
	if err := json.Unmarshal(request["params"], &params); err != nil {
		return nil, err
	}
	h, err := params.handshake()
	if err != nil {
		return nil, err
	}
	var wrong defects
	if h.device != nil {
		if wrong, err = h.recordedDefects(r.recorded); err != nil {
			return nil, err
		}
	}
	answer, _ := r.t.answer(id)
	switch known, ok := r.names[h.token]; {
	case h.token == recordedToken, h.token == redactedToken:
		h.token = r.target.Token
	case ok:
		h.token = known
	case r.t.info.Pair != nil && h.token != "" && answer.OK:
		h.token = r.deviceToken
	case h.token == "" && r.t.info.Action != "":
		// Recorded under a mode that we do not have; see EXCEPTIONS.md.
		h.token = r.target.Token
	}
	if err := r.authenticate(params, h.token); err != nil {
		return nil, err
	}
	if h.device != nil {
		params.set("device", r.device.prove(h, r.live, wrong))
	}
	request["params"] = encode(params)
	return encode(request), nil
}

// authenticate puts our secrets in the place of the recorded ones.
func (r *replay) authenticate(params connectParams, token string) error {
	auth := map[string]string{}
	if params["auth"] != nil {
		if err := json.Unmarshal(params["auth"], &auth); err != nil {
			return fmt.Errorf("recorded auth: %w", err)
		}
	}
	if token != "" {
		auth["token"] = token
	}
	if p := auth["password"]; p == recordedPassword || p == redactedPassword {
		auth["password"] = r.target.Password
	}
	if len(auth) > 0 {
		params.set("auth", auth)
	}
	return nil
}

// opening returns the recorded connect params, to be varied.
func (t *transcript) opening() (connectParams, error) {
	for _, s := range t.steps {
		if s.Dir == "c2s" && s.said.Method == protocol.MethodConnect.Name && s.said.Params != nil {
			var params connectParams
			err := json.Unmarshal(s.said.Params, &params)
			return params, err
		}
	}
	return nil, fmt.Errorf("the recording has no connect")
}

// device returns the id of the device that connects, "" when none does.
func (t *transcript) device() string {
	for _, s := range t.steps {
		var params struct{ Device deviceProof }
		if s.Dir == "c2s" && json.Unmarshal(orEmpty(s.said.Params), &params) == nil && params.Device.ID != "" {
			return params.Device.ID
		}
	}
	return ""
}

// defective reports whether the recorded handshake has a fault of its own.
func (t *transcript) defective() bool {
	params, err := t.opening()
	if err != nil {
		return false
	}
	h, err := params.handshake()
	if err != nil || h.device == nil {
		return err != nil
	}
	wrong, err := h.recordedDefects(t.recorded())
	return err != nil || wrong != defects{}
}

// pair connects once with the shared secret and the scopes that the recorded
// device had been paired with.
func (r *replay) pair(ctx context.Context) error {
	params, err := r.t.opening()
	if err != nil {
		return err
	}
	answer, err := r.connectOnce(ctx, params, r.t.info.Pair, r.target.secret())
	if err != nil {
		return err
	}
	if !answer.OK {
		return fmt.Errorf("refused with %s", told(answer))
	}
	var hello struct {
		Auth struct{ DeviceToken string }
	}
	if err := json.Unmarshal(answer.Payload, &hello); err != nil {
		return err
	}
	r.deviceToken = hello.Auth.DeviceToken
	return nil
}

// guess connects once with a wrong secret and no device.
func (r *replay) guess(ctx context.Context) error {
	params, err := r.t.opening()
	if err != nil {
		return err
	}
	delete(params, "device")
	answer, err := r.connectOnce(ctx, params, nil, map[string]string{r.target.profile(): "a wrong secret"})
	if err == nil && answer.OK {
		err = fmt.Errorf("the gateway accepts it")
	}
	return err
}

// connectOnce opens a connection of its own, connects, and returns the answer.
func (r *replay) connectOnce(ctx context.Context, params connectParams, scopes []string, auth map[string]string) (frame, error) {
	url := r.target.URL
	if r.t.info.Remote {
		url = r.target.RemoteURL
	}
	c, err := dial(ctx, r.target, url, nil)
	if err != nil {
		return frame{}, err
	}
	defer c.close()
	live, err := c.challenge(ctx)
	if err != nil {
		return frame{}, err
	}
	if scopes != nil {
		params.set("scopes", scopes)
	}
	params.set("auth", auth)
	if params["device"] != nil {
		h, err := params.handshake()
		if err != nil {
			return frame{}, err
		}
		params.set("device", r.device.prove(h, live, defects{}))
	}
	request := encode(map[string]any{"type": "req", "id": "before", "method": protocol.MethodConnect.Name, "params": params})
	if err := c.send(ctx, json.RawMessage(`"before"`), request); err != nil {
		return frame{}, err
	}
	answer, _, err := c.response(ctx, json.RawMessage(`"before"`), 0)
	return answer, err
}
