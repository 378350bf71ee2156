import Foundation

/// Writes a ``JSONValue`` as JSON text (RFC 8259) on one line, members sorted by name.
///
/// Foundation's encoder would do the same with some kilobytes of stack for each level of
/// nesting, which the stacks of worker threads do not have for the deepest text that
/// ``JSONParser`` accepts.
struct JSONWriter {
    private(set) var text: [UInt8] = []

    mutating func write(_ value: JSONValue) throws {
        switch value {
        case .null: append("null")
        case .bool(let truth): append(truth ? "true" : "false")
        case .int(let number): append(String(number))
        case .double(let number): try write(number)
        case .string(let string): write(string)
        case .array(let items):
            text.append(UInt8(ascii: "["))
            for (index, item) in items.enumerated() {
                if index > 0 { text.append(UInt8(ascii: ",")) }
                try write(item)
            }
            text.append(UInt8(ascii: "]"))
        case .object(let members):
            text.append(UInt8(ascii: "{"))
            for (index, name) in members.keys.sorted().enumerated() {
                if index > 0 { text.append(UInt8(ascii: ",")) }
                write(name)
                text.append(UInt8(ascii: ":"))
                try write(members[name] ?? .null)
            }
            text.append(UInt8(ascii: "}"))
        }
    }

    private mutating func write(_ number: Double) throws {
        guard number.isFinite else {
            throw EncodingError.invalidValue(number, .init(codingPath: [], debugDescription: "JSON has no \(number)"))
        }
        append("\(number)")
    }

    private mutating func write(_ string: String) {
        text.append(UInt8(ascii: "\""))
        for byte in string.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                text.append(UInt8(ascii: "\\"))
                text.append(byte)
            case 0x0A: append("\\n")
            case 0x0D: append("\\r")
            case 0x09: append("\\t")
            case 0..<0x20:
                append("\\u00")
                text.append(Self.hex[Int(byte >> 4)])
                text.append(Self.hex[Int(byte & 15)])
            default: text.append(byte)
            }
        }
        text.append(UInt8(ascii: "\""))
    }

    private mutating func append(_ word: String) { text.append(contentsOf: word.utf8) }

    private static let hex = Array("0123456789abcdef".utf8)
}
