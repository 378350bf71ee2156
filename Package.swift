// swift-tools-version: 6.0
// SwiftPM reads the manifest of a url dependency at the root of the repository. The
// sources are those of clients/swift, whose own manifest adds the tests.
import PackageDescription

let package = Package(
    name: "coderclaw",
    platforms: [.macOS(.v12), .iOS(.v15), .tvOS(.v15), .watchOS(.v8), .visionOS(.v1)],
    products: [.library(name: "CoderClawProtocol", targets: ["CoderClawProtocol"])],
    targets: [.target(name: "CoderClawProtocol", path: "clients/swift/Sources/CoderClawProtocol")],
    swiftLanguageModes: [.v6]
)
