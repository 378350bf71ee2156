// Asks the Swift of the golden files about the shapes that the protocol does not use.
// Compiled together with them and with the handwritten part of the package.
import Foundation

func through<T: Codable>(_ type: T.Type, _ text: String) -> String {
    do {
        let value = try JSONValue(parsing: Data(text.utf8)).decode(as: type)
        return String(decoding: try JSONValue(encoding: value).data(), as: UTF8.self)
    } catch let error as DecodingError {
        switch error {
        case .keyNotFound(let key, let context): return "lacks " + (context.codingPath + [key]).map(\.stringValue).joined(separator: ".")
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            return "refused at " + context.codingPath.map(\.stringValue).joined(separator: ".")
        @unknown default: return "refused"
        }
    } catch {
        return "threw \(error)"
    }
}

let same = "same"
let cases: [(any (Codable & Sendable).Type, String, String)] = [
    // Constants of every kind, required and optional; nullables; numbers.
    (Scalars.self, #"{"kind":"scalars","name":"abc","seven":7,"yes":true}"#, same),
    (Scalars.self, #"{"kind":"scalars","name":"abc","yes":false}"#, "refused at yes"),
    (Scalars.self, #"{"kind":"other","name":"abc"}"#, "refused at kind"),
    (Scalars.self, #"{"name":"abc"}"#, "lacks kind"),
    (Scalars.self, #"{"kind":"scalars","maybe":null,"name":"abc","ratio":0.5,"textOrNull":null}"#, same),
    (Scalars.self, #"{"inline":"new","kind":"scalars","maybe":"b","name":"abc","textOrNull":"x"}"#, same),
    (Scalars.self, #"{"kind":"scalars","name":"abc","ratio":null}"#, "refused at ratio"),
    (Scalars.self, #"{"count":1.0,"kind":"scalars","name":"abc","ratio":1}"#, #"{"count":1,"kind":"scalars","name":"abc","ratio":1}"#),
    // Lists, maps, required null, untyped null.
    (Lists.self, #"{"any":[null,1,{}],"gaps":[1,null],"grid":[[1],[]],"marks":{"a":true},"names":["ab"],"raw":null,"when":null}"#, same),
    (Lists.self, #"{"mixed":"x","names":[],"shapes":[{"radius":1.5,"type":"circle"}],"when":5}"#, same),
    (Lists.self, #"{"names":["ab"]}"#, "lacks when"),
    (Lists.self, #"{"gaps":["x"],"names":[],"when":1}"#, "refused at gaps.Index 0"),
    // Unions: by a tag, holding itself, unknown, and by trying.
    (Shape.self, #"{"deep":{"side":1,"type":"square"},"side":2,"type":"square"}"#, same),
    (Shape.self, #"{"corners":[1,null],"type":"star"}"#, same),
    (Shape.self, #"{"radius":"1","type":"circle"}"#, "refused at radius"),
    (Shape.self, #"{"radius":1}"#, "lacks type"),
    (Finder.self, #"{"id":"x"}"#, same),
    (Finder.self, #"{"id":"x","new":1}"#, #"{"id":"x"}"#),
    (Finder.self, #"{"id":"x","name":"y"}"#, #"{"name":"y"}"#),
    (Finder.self, #"{}"#, "refused at "),
    (Perhaps.self, "null", same),
    (Perhaps.self, #"{"radius":2,"type":"circle"}"#, same),
    (Many.self, "[]", same),
    (Empty.self, "{}", same),
    (Empty.self, "[]", "refused at "),
    // Names that Swift reserves, and what is deprecated.
    (Awkward.self, #"{"__mark":"m","a-b":2,"default":true,"in":"x","self":1,"word":"self"}"#, same),
    (Awkward.self, #"{"in":"x","word":"newer"}"#, same),
    (Aged.self, #"{"kind":"aged","old":"x","older":1,"oldest":null}"#, same),
]

var failures = 0
for (type, text, want) in cases {
    let got = through(type, text)
    if got != (want == same ? text : want) {
        failures += 1
        print("\(type) \(text): got \(got), want \(want)")
    }
}
for (have, need, want) in [(["move"], "look", true), (["look"], "touch", false), (["all"], "move", true), ([], "look", false)] {
    if GatewayScope.allows(have, need: need) != want {
        failures += 1
        print("allows(\(have), \(need)) is not \(want)")
    }
}
print("shapes: \(cases.count) cases, \(failures) failed")
exit(failures == 0 ? 0 : 1)
