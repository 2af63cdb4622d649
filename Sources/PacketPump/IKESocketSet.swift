import CLinux
import Cryptography
public import Dispatch
public import IPPackets
import Synchronization

/// A datagram of IKE.
public struct OuterDatagram: Hashable, Sendable {
    /// The message, without the non-ESP marker.
    public let octets: [UInt8]
    /// The address of ours that it was sent to, and the port.
    public let local: Endpoint
    /// The sender.
    public let remote: Endpoint

    /// Makes a datagram.
    public init(octets: [UInt8], local: Endpoint, remote: Endpoint) {
        self.octets = octets
        self.local = local
        self.remote = remote
    }
}

/// The control plane's sockets: the IKE port, and the first member of the group that shares the port with
/// ESP.
///
/// To be made before the `DataPlane` of the same ports. The queue must be serial; handlers are called on it.
public final class IKESocketSet: Sendable {
    /// The largest UDP payload over IPv4.
    static let largestDatagram = 65_507

    private let sockets: [IKESocket]
    private let mark: UInt32
    private let natTraversalPort: UInt16

    /// Binds the ports for IPv4, and for IPv6 where there is any, and begins to read.
    public init(
        ikePort: UInt16,
        natTraversalPort: UInt16,
        mark: UInt32,
        queue: DispatchQueue,
        handler: @escaping @Sendable (OuterDatagram) -> Void
    ) throws(PumpError) {
        self.mark = mark
        self.natTraversalPort = natTraversalPort
        var sockets = [IKESocket]()
        for port in [ikePort, natTraversalPort] {
            let isShared = port == natTraversalPort
            let buffer = 1 << 20
            let v4 = try OuterSocket.open(
                port: port,
                isIPv6: false,
                mark: mark,
                buffer: buffer,
                sharesPort: isShared,
                dontFragment: false
            )
            let v6 = try OuterSocket.openIPv6(
                port: port,
                mark: mark,
                buffer: buffer,
                sharesPort: isShared,
                dontFragment: false
            )
            for (descriptor, isIPv6) in [(v4, false), (v6, true)] {
                guard let descriptor else { continue }
                sockets.append(
                    try IKESocket(
                        descriptor,
                        port: port,
                        isIPv6: isIPv6,
                        hasMarker: isShared,
                        queue: queue,
                        handler: handler
                    )
                )
            }
        }
        self.sockets = sockets
    }

    deinit { close() }

    /// Stops reading and closes the sockets as soon as no handler runs.
    public func close() {
        for socket in sockets { socket.cancel() }
    }

    /// Takes ESP packets that came to the IKE socket, for `DataPlane.strayESP`; without it they are dropped.
    public func setStrayESPHandler(
        _ handler: @escaping @Sendable (_ octets: [UInt8], _ local: Endpoint, _ remote: Endpoint) -> Void
    ) {
        for socket in sockets { socket.setStrayHandler(handler) }
    }

    /// Takes errors about ESP packets that came to the IKE socket, for `DataPlane.outerError`.
    public func setErrorHandler(_ handler: @escaping @Sendable (OuterError) -> Void) {
        for socket in sockets { socket.setErrorHandler(handler) }
    }

    /// Sends a message; from the shared port with the non-ESP marker.
    ///
    /// An unspecified source is the kernel's choice. With `forbidsFragmentation` the datagram arrives whole or
    /// not at all, as a probe of the path must.
    public func send(
        _ octets: [UInt8],
        from local: Endpoint,
        to remote: Endpoint,
        forbidsFragmentation: Bool = false
    ) {
        let marker: [UInt8] = local.port == natTraversalPort ? [0, 0, 0, 0] : []
        sendRaw(marker + octets, local, remote, forbidsFragmentation)
    }

    /// Sends the octet that keeps a NAT's mapping alive (RFC 3948 §2.3).
    public func sendKeepalive(from local: Endpoint, to remote: Endpoint) {
        sendRaw([0xff], local, remote, false)
    }

    private func sendRaw(
        _ octets: [UInt8],
        _ local: Endpoint,
        _ remote: Endpoint,
        _ forbidsFragmentation: Bool
    ) {
        let isIPv6 = remote.address.bitWidth == 128
        guard octets.count <= Self.largestDatagram,
            let socket = sockets.first(where: { $0.port == local.port && $0.isIPv6 == isIPv6 })
        else { return }
        socket.send(
            octets,
            from: clinux_endpoint(local),
            to: clinux_endpoint(remote),
            forbidsFragmentation: forbidsFragmentation
        )
    }

    /// The address that packets to `remote` leave from, or nil without a route.
    public func localAddress(towards remote: IPAddress) -> IPAddress? {
        var target = clinux_endpoint(Endpoint(remote, 500))
        var source = clinux_endpoint()
        guard unsafe clinux_source_towards(&target, mark, &source) == 0 else { return nil }
        return source.address
    }
}

/// One socket of the set.
///
/// Safe to share: the batch is used on the queue alone, the handlers and what is sent are under locks, and
/// Dispatch allows its calls on a source from any thread.
final class IKESocket: @unchecked Sendable {
    private static let budget = 4

    let descriptor: OwnedDescriptor
    let port: UInt16
    let isIPv6: Bool
    private let hasMarker: Bool
    private let handler: @Sendable (OuterDatagram) -> Void
    private let strayHandler = Mutex<(@Sendable ([UInt8], Endpoint, Endpoint) -> Void)?>(nil)
    private let errorHandler = Mutex<(@Sendable (OuterError) -> Void)?>(nil)
    /// The fragmentation option belongs to the socket, so one datagram at a time leaves.
    private let sending = Mutex(())
    private let source: any DispatchSourceRead
    private var batch: DatagramBatch

    init(
        _ descriptor: OwnedDescriptor,
        port: UInt16,
        isIPv6: Bool,
        hasMarker: Bool,
        queue: DispatchQueue,
        handler: @escaping @Sendable (OuterDatagram) -> Void
    ) throws(PumpError) {
        self.descriptor = descriptor
        self.port = port
        self.isIPv6 = isIPv6
        self.hasMarker = hasMarker
        self.handler = handler
        batch = try DatagramBatch(slots: 8)
        let watched = try hasMarker ? OuterSocket.watch(descriptor) : descriptor
        source = DispatchSource.makeReadSource(fileDescriptor: watched.number, queue: queue)
        // The descriptors stay open until Dispatch has let go of them.
        source.setCancelHandler { withExtendedLifetime((descriptor, watched)) {} }
        source.setEventHandler { [weak self] in self?.drain() }
        source.resume()
    }

    deinit { source.cancel() }

    func cancel() { source.cancel() }

    func setStrayHandler(_ handler: @escaping @Sendable ([UInt8], Endpoint, Endpoint) -> Void) {
        strayHandler.withLock { $0 = handler }
    }

    func setErrorHandler(_ handler: @escaping @Sendable (OuterError) -> Void) {
        errorHandler.withLock { $0 = handler }
    }

    func send(
        _ octets: [UInt8],
        from local: clinux_endpoint,
        to remote: clinux_endpoint,
        forbidsFragmentation: Bool
    ) {
        var (local, remote) = (local, remote)
        sending.withLock { _ in
            if forbidsFragmentation { clinux_set_dont_fragment(descriptor.number, isIPv6 ? 1 : 0, 1) }
            unsafe octets.withUnsafeBytes { bytes in
                // A datagram that does not go out is like one lost on the way: IKE sends it again.
                _ = unsafe clinux_send_one(
                    descriptor.number,
                    bytes.baseAddress,
                    bytes.count,
                    &local,
                    &remote
                )
            }
            if forbidsFragmentation { clinux_set_dont_fragment(descriptor.number, isIPv6 ? 1 : 0, 0) }
        }
    }

    private func drain() {
        for round in 0..<Self.budget {
            let count = batch.receive(from: descriptor.number)
            guard count > 0 else {
                if hasMarker, round == 0 || count != -11 { drainErrors() }
                return
            }
            for slot in 0..<count { take(slot) }
        }
    }

    /// Empties the error queue, which would wake us for ever.
    private func drainErrors() {
        var error = clinux_outer_error()
        for _ in 0..<64 {
            guard unsafe clinux_receive_error(descriptor.number, &error) == 1 else { return }
            if let report = OuterError(error) { errorHandler.withLock { $0 }?(report) }
        }
    }

    private func take(_ slot: Int) {
        let datagram = batch.datagram(slot)
        let length = Int(datagram.length)
        guard datagram.is_truncated == 0, length >= 4 else { return }
        let octets = batch.arena.octets(batch.offset(of: slot)..<batch.offset(of: slot) + length)
        let local = datagram.local.endpoint(port: port)
        let remote = datagram.remote.endpoint()
        guard hasMarker else { return handler(OuterDatagram(octets: octets, local: local, remote: remote)) }
        if octets.prefix(4).allSatisfy({ $0 == 0 }) {
            handler(OuterDatagram(octets: Array(octets.dropFirst(4)), local: local, remote: remote))
        } else {
            strayHandler.withLock { $0 }?(octets, local, remote)
        }
    }
}
