import CoderClawProtocol
import Foundation

// What a client does with the models: ask, read the answer, follow the events.
let request = try GatewayMethod.chatSend.request(
    id: "r1",
    params: ChatSendParams(sessionKey: "main", message: "hello", idempotencyKey: "c1")
)
print(String(decoding: try GatewayFrame.request(request).data(), as: UTF8.self))

func read(_ text: String) throws -> String {
    switch try GatewayFrame(parsing: Data(text.utf8)) {
    case .response(let response):
        switch try GatewayMethod.chatSend.result(of: response) {
        case .runStatus(let run): return "run \(run.runId) \(run.status)"
        case .abortResult(let abort): return "aborted \(abort.runIds)"
        }
    case .event(let event):
        switch try event.decoded() {
        case .chat(let chat): return "chat \(chat.state) \(chat.message?["content"]?[0]?["text"]?.stringValue ?? "")"
        case .unknown(let name, let payload): return "unknown \(name) \(payload ?? .null)"
        case let other: return other.name
        }
    case .request, .unknown:
        return "unexpected"
    }
}

print(try read(#"{"type":"res","id":"r1","ok":true,"payload":{"runId":"c1","status":"started"}}"#))
print(
    try read(
        #"{"type":"event","event":"chat","seq":7,"payload":{"runId":"c1","sessionKey":"agent:main:main","seq":2,"state":"delta","message":{"role":"assistant","content":[{"type":"text","text":"word0"}]}}}"#
    ))
print(try read(#"{"type":"event","event":"of.tomorrow","payload":{"n":9007199254740993}}"#))
do {
    _ = try read(#"{"type":"res","id":"r1","ok":false,"error":{"code":"INVALID_REQUEST","message":"missing scope: operator.write"}}"#)
} catch let error as ErrorShape {
    print("refused \(error.code): \(GatewayErrorInfo.find(error.code) == nil ? "not in the catalogue" : error.message)")
}
