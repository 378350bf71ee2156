// swift-tools-version: 6.0
// A program as other people write it: it takes the models from a tag of the repository
// by url. The test points the url at a clone on the same machine.
import PackageDescription

let package = Package(
    name: "consumer",
    platforms: [.macOS(.v12)],
    dependencies: [
        .package(url: Context.environment["CODERCLAW_URL"] ?? "https://github.com/coderclaw/gateway.git", from: "0.1.0")
    ],
    targets: [
        .executableTarget(name: "Consumer", dependencies: [.product(name: "CoderClawProtocol", package: "gateway")])
    ],
    swiftLanguageModes: [.v6]
)
