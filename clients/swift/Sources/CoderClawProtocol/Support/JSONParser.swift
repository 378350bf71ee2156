import Foundation

/// Reads JSON text (RFC 8259) into a ``JSONValue`` in one pass over the bytes.
///
/// Foundation's decoder finds out what an open value is by trying every type, and an
/// attempt that fails costs more than all the rest; reading the values once and decoding
/// types from them is several times as fast and loses no digit.
struct JSONParser {
    private let bytes: UnsafeBufferPointer<UInt8>
    private var at = 0
    private var depth = 0

    private static let depthMax = 512

    static func parse(_ bytes: UnsafeBufferPointer<UInt8>) throws -> JSONValue {
        var parser = JSONParser(bytes: bytes)
        parser.skipSpace()
        let value = try parser.value()
        parser.skipSpace()
        guard parser.at == bytes.count else { throw parser.fault("text after the value") }
        return value
    }

    private init(bytes: UnsafeBufferPointer<UInt8>) {
        self.bytes = bytes
    }

    // MARK: Values

    private mutating func value() throws -> JSONValue {
        guard at < bytes.count else { throw fault("unexpected end") }
        switch bytes[at] {
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "{"): return try object()
        case UInt8(ascii: "["): return try array()
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws -> JSONValue {
        for i in 0..<text.utf8CodeUnitCount {
            guard at < bytes.count, bytes[at] == text.utf8Start[i] else { throw fault("unknown word") }
            at += 1
        }
        return value
    }

    private mutating func object() throws -> JSONValue {
        try enter()
        var members: [String: JSONValue] = [:]
        skipSpace()
        if take(UInt8(ascii: "}")) {
            depth -= 1
            return .object(members)
        }
        while true {
            guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else { throw fault("expected a member's name") }
            let name = try string()
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw fault("expected a colon") }
            skipSpace()
            guard members.updateValue(try value(), forKey: name) == nil else { throw fault("a member is named twice") }
            skipSpace()
            if take(UInt8(ascii: "}")) {
                depth -= 1
                return .object(members)
            }
            guard take(UInt8(ascii: ",")) else { throw fault("expected a comma or a closing brace") }
            skipSpace()
        }
    }

    private mutating func array() throws -> JSONValue {
        try enter()
        var items: [JSONValue] = []
        skipSpace()
        if take(UInt8(ascii: "]")) {
            depth -= 1
            return .array(items)
        }
        while true {
            items.append(try value())
            skipSpace()
            if take(UInt8(ascii: "]")) {
                depth -= 1
                return .array(items)
            }
            guard take(UInt8(ascii: ",")) else { throw fault("expected a comma or a closing bracket") }
            skipSpace()
        }
    }

    /// Steps over the opening brace or bracket.
    private mutating func enter() throws {
        at += 1
        depth += 1
        guard depth <= Self.depthMax else { throw fault("nested deeper than \(Self.depthMax)") }
    }

    // MARK: Strings

    private mutating func string() throws -> String {
        at += 1
        let start = at
        var seen: UInt8 = 0
        while at < bytes.count {
            let byte = bytes[at]
            if byte == UInt8(ascii: "\"") {
                let text = try text(start..<at, ascii: seen < 0x80)
                at += 1
                return text
            }
            if byte == UInt8(ascii: "\\") { return try escaped(from: start) }
            guard byte >= 0x20 else { throw fault("a control character in a string") }
            seen |= byte
            at += 1
        }
        throw fault("a string without end")
    }

    private func text(_ range: Range<Int>, ascii: Bool) throws -> String {
        let part = UnsafeBufferPointer(rebasing: bytes[range])
        if ascii { return String(decoding: part, as: UTF8.self) }
        guard let text = String(bytes: part, encoding: .utf8) else { throw fault("bytes that are not UTF-8") }
        return text
    }

    /// Reads on at the first backslash of a string that began at start.
    private mutating func escaped(from start: Int) throws -> String {
        var out = Array(bytes[start..<at])
        while at < bytes.count {
            let byte = bytes[at]
            switch byte {
            case UInt8(ascii: "\""):
                at += 1
                guard let text = String(bytes: out, encoding: .utf8) else { throw fault("bytes that are not UTF-8") }
                return text
            case UInt8(ascii: "\\"):
                at += 1
                try escape(into: &out)
            case 0..<0x20:
                throw fault("a control character in a string")
            default:
                out.append(byte)
                at += 1
            }
        }
        throw fault("a string without end")
    }

    /// Reads what follows a backslash.
    private mutating func escape(into out: inout [UInt8]) throws {
        guard at < bytes.count else { throw fault("a string without end") }
        let byte = bytes[at]
        at += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(byte)
        case UInt8(ascii: "b"): out.append(0x08)
        case UInt8(ascii: "f"): out.append(0x0C)
        case UInt8(ascii: "n"): out.append(0x0A)
        case UInt8(ascii: "r"): out.append(0x0D)
        case UInt8(ascii: "t"): out.append(0x09)
        case UInt8(ascii: "u"):
            let scalar = try unicode()
            out.append(contentsOf: Unicode.UTF8.encode(scalar) ?? Unicode.UTF8.encodedReplacementCharacter)
        default: throw fault("unknown escape")
        }
    }

    /// Reads the digits of `\u`, and of a second one where both make up one character.
    private mutating func unicode() throws -> Unicode.Scalar {
        let first = try hex()
        if let scalar = Unicode.Scalar(first) { return scalar }
        let replacement: Unicode.Scalar = "\u{FFFD}"
        let start = at
        guard first < 0xDC00, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
            at = start
            return replacement
        }
        let second = try hex()
        guard 0xDC00...0xDFFF ~= second else {
            at = start
            return replacement
        }
        return Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00)) ?? replacement
    }

    private mutating func hex() throws -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard at < bytes.count, let digit = Character(Unicode.Scalar(bytes[at])).hexDigitValue else {
                throw fault("expected four hex digits")
            }
            code = code << 4 | UInt32(digit)
            at += 1
        }
        return code
    }

    // MARK: Numbers

    private mutating func number() throws -> JSONValue {
        let start = at
        let negative = take(UInt8(ascii: "-"))
        let whole = at
        var magnitude: UInt64 = 0
        var fits = true
        while let digit = digit() {
            let (product, over) = magnitude.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
            fits = fits && !over && !carry
            magnitude = sum
        }
        guard at > whole else { throw fault(at == start ? "expected a value" : "expected a digit") }
        guard at == whole + 1 || bytes[whole] != UInt8(ascii: "0") else { throw fault("a number with a leading zero") }
        var fraction = false
        if take(UInt8(ascii: ".")) {
            let first = at
            while let digit = digit() { fraction = fraction || digit != 0 }
            guard at > first else { throw fault("expected a digit") }
        }
        var exponent = false
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            exponent = true
            _ = take(UInt8(ascii: "+")) || take(UInt8(ascii: "-"))
            let first = at
            while digit() != nil {}
            guard at > first else { throw fault("expected a digit") }
        }
        if fits, !fraction, !exponent, let number = Self.signed(magnitude, negative: negative) {
            return .int(number)
        }
        return try floating(start)
    }

    private static func signed(_ magnitude: UInt64, negative: Bool) -> Int64? {
        if !negative { return Int64(exactly: magnitude) }
        if magnitude == Int64.min.magnitude { return Int64.min }
        return Int64(exactly: magnitude).map { -$0 }
    }

    private func floating(_ start: Int) throws -> JSONValue {
        let text = String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<at]), as: UTF8.self)
        guard let number = Double(text), number.isFinite else { throw fault("a number out of range") }
        if let whole = Int64(exactly: number) { return .int(whole) }
        return .double(number)
    }

    private mutating func digit() -> UInt8? {
        guard at < bytes.count, 0x30...0x39 ~= bytes[at] else { return nil }
        at += 1
        return bytes[at - 1] - 0x30
    }

    // MARK: Bytes

    private mutating func skipSpace() {
        while at < bytes.count {
            switch bytes[at] {
            case 0x20, 0x0A, 0x0D, 0x09: at += 1
            default: return
            }
        }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard at < bytes.count, bytes[at] == byte else { return false }
        at += 1
        return true
    }

    private func fault(_ why: String) -> DecodingError {
        .dataCorrupted(.init(codingPath: [], debugDescription: "not JSON at byte \(at): \(why)"))
    }
}
