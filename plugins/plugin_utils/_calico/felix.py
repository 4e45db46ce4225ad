# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Reads FelixConfiguration: the settings of Calico's agent, of which a plain host needs few.

A cluster's own object may be used as it is. What could change what a host permits is served or refused; what
has no meaning here is ignored, and the user is told its names.
"""

from __future__ import annotations

import typing as t

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import values
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import (
    Where,
    ignored,
    mapping,
    number,
    sequence,
    single,
)
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.resources import (
    FELIX_DEFAULT,
    FELIX_NODE,
    FelixConfiguration,
)

if t.TYPE_CHECKING:
    from collections.abc import Mapping

# Reason, and the fields of Calico (api/pkg/apis/projectcalico/v3/felixconfig.go) that it is for.
_IGNORED = {
    "it configures an agent that does not run here": """
    dataplaneDriver dataplaneWatchdogTimeout debugDisableLogDropping debugHost debugMemoryProfilePath
    debugPort debugSimulateCalcGraphHangAfter debugSimulateDataplaneApplyDelay
    debugSimulateDataplaneHangAfter endpointReportingDelay endpointReportingEnabled
    endpointStatusPathPrefix featureDetectOverride featureGates flowLogsCollectorDebugTrace
    flowLogsFlushInterval flowLogsGoldmaneServer flowLogsLocalReporter flowLogsPolicyEvaluationMode
    goGCThreshold goMaxProcs goMemoryLimitMB healthEnabled healthHost healthPort healthTimeoutOverrides
    interfaceRefreshInterval ipsetsRefreshInterval iptablesLockProbeInterval
    iptablesPostWriteCheckInterval iptablesRefreshInterval logDebugFilenameRegex logFilePath
    logSeverityFile logSeverityScreen logSeveritySys netlinkTimeout nftablesRefreshInterval
    policySyncPathPrefix prometheusGoMetricsEnabled prometheusMetricsCAFile prometheusMetricsCertFile
    prometheusMetricsClientAuth prometheusMetricsEnabled prometheusMetricsHost prometheusMetricsKeyFile
    prometheusMetricsPort prometheusProcessMetricsEnabled prometheusWireGuardMetricsEnabled
    reportingInterval reportingTTL requireMTUFile routeRefreshInterval usageReportingEnabled
    usageReportingInitialDelay usageReportingInterval useInternalDataplaneDriver
    """,
    "it configures Calico's eBPF data plane, which is not used here": """
    bpfAttachType bpfCTLBLogFilter bpfConnectTimeLoadBalancing bpfConnectTimeLoadBalancingEnabled
    bpfConntrackLogLevel bpfConntrackMode bpfConntrackTimeouts bpfDSROptoutCIDRs bpfDataIfacePattern
    bpfDisableGROForIfaces bpfDisableUnprivileged bpfEnabled bpfEnforceRPF bpfExcludeCIDRsFromNAT
    bpfExportBufferSizeMB bpfExtToServiceConnmark bpfExternalServiceMode bpfForceTrackPacketsFromIfaces
    bpfHostConntrackBypass bpfHostNetworkedNATWithoutCTLB bpfIPFragTimeout
    bpfIPFragmentReassemblyEnabled bpfJITHardening bpfKubeProxyHealthzPort
    bpfKubeProxyIptablesCleanupEnabled bpfKubeProxyMinSyncPeriod bpfL3IfacePattern bpfLogFilters
    bpfLogLevel bpfMaglevMaxEndpointsPerService bpfMaglevMaxServices bpfMapSizeConntrack
    bpfMapSizeConntrackCleanupQueue bpfMapSizeConntrackScaling bpfMapSizeIPSets bpfMapSizeIfState
    bpfMapSizeNATAffinity bpfMapSizeNATBackend bpfMapSizeNATFrontend bpfMapSizePerCpuConntrack
    bpfMapSizeRoute bpfOverlayHostSourceIP bpfPSNATPorts bpfPolicyDebugEnabled bpfProfiling
    bpfRedirectToPeer cgroupV2Path
    """,
    "it is about Kubernetes or a cloud, and a plain host is in neither": """
    awsSrcDstCheck istioAmbientMode istioDSCPMark kubeNodePortRanges metadataAddr metadataPort
    openstackRegion sidecarAccelerationEnabled windowsManageFirewallRules
    """,
    "it is about addresses of pods, and a plain host has none": """
    iptablesNATOutgoingInterfaceFilter natOutgoingAddress natOutgoingExclusions natPortRange
    """,
    "it configures networks and routes between nodes, and a plain host has none of them": """
    externalNodesList ipipEnabled ipipMTU ipv4ElevatedRoutePriority ipv4NormalRoutePriority
    ipv6ElevatedRoutePriority ipv6NormalRoutePriority liveMigrationRouteConvergenceTime mtuIfacePattern
    programClusterRoutes routeSyncDisabled routeTableRange routeTableRanges vxlanEnabled vxlanMTU
    vxlanMTUV6 vxlanPort vxlanVNI wireguardEnabled wireguardEnabledV6 wireguardHostEncryptionEnabled
    wireguardInterfaceName wireguardInterfaceNameV6 wireguardKeepAlive wireguardListeningPort
    wireguardListeningPortV6 wireguardMTU wireguardMTUV6 wireguardRoutingRulePriority
    wireguardThreadingEnabled
    """,
    "it tells the agent what a host can do, which is found out here": """
    interfacePrefix ipForwarding iptablesBackend ipv6Support maxIpsetSize nftablesMode
    """,
    "it is about pods and their interfaces, and a plain host has none": """
    allowIPIPPacketsFromWorkloads allowVXLANPacketsFromWorkloads defaultEndpointToHostAction
    deviceRouteProtocol deviceRouteSourceAddress deviceRouteSourceAddressIPv6 floatingIPs
    localSubnetL2Reachability localSubnetL2ReachabilityRefreshInterval removeExternalRoutes routeSource
    serviceLoopPrevention workloadSourceSpoofing
    """,
    "it configures Calico's use of XDP, which there is none of here yet": """
    genericXDPEnabled xdpEnabled xdpRefreshInterval
    """,
}
IGNORED = {name: reason for reason, names in _IGNORED.items() for name in names.split()}

_PROTO_PORT = mapping(
    {
        "protocol": single(values.failsafe_protocol),
        "port": number(values.failsafe_port),
        "net": single(values.set_member),
    },
    required={"protocol": "TCP, UDP or SCTP", "port": "a number from 0 to 65535"},
)


def _failsafe(value: t.Any, where: Where) -> model.Failsafe | None:
    before = len(where.findings)
    read = _PROTO_PORT(value, where)
    if read is None or len(where.findings) > before:
        return None
    net = read.get("net")
    return model.Failsafe(read["protocol"], read["port"], None if net is None else str(net))


# The fields that become one of model.Settings: its name, and how they are read.
_SETTINGS: Mapping[str, tuple[str, t.Callable[[t.Any], t.Any]]] = {
    "chainInsertMode": ("insert_first", values.insert_mode),
    "disableConntrackInvalidCheck": ("drop_invalid", lambda value: not values.boolean(value)),
    "iptablesMarkMask": ("mark_mask", values.mark_mask),
    "logActionRateLimit": ("log_rate", values.log_rate),
    "logActionRateLimitBurst": ("log_burst", values.log_burst),
    "logPrefix": ("log_prefix", values.log_prefix),
    "nftablesMarkMask": ("mark_mask", values.mark_mask),
}
_AS_HERE = {
    "interfaceExclude": "it would leave interfaces without policy",
    "nodeSelector": "name the object default, or node.NAME for the host NAME",
    **dict.fromkeys(
        ("iptablesFilterAllowAction", "iptablesMangleAllowAction",
         "nftablesFilterAllowAction", "nftablesMangleAllowAction"),
        "what policy allows is accepted in our own chains, and other tables judge it in any case",
    ),
    **dict.fromkeys(
        ("iptablesFilterDenyAction", "nftablesFilterDenyAction"),
        "what policy denies is dropped",
    ),
}  # fmt: skip
_DEFAULTS = {"AllowAction": "accept", "DenyAction": "drop"}


def _only_default(name: str) -> t.Callable[[t.Any, Where], None]:
    """A reader of a field that is served with its default value alone."""
    default = next((value for ending, value in _DEFAULTS.items() if name.endswith(ending)), None)

    def reader(value: t.Any, where: Where) -> None:
        if value != "" and (default is None or not isinstance(value, str) or value.lower() != default):
            allowed = "leave it out" if default is None else f"allowed: {default.capitalize()}"
            where.refuse(f"found {shown(value)}, not served: {_AS_HERE[name]}; {allowed}")

    return reader


SPEC = mapping(
    {
        "failsafeInboundHostPorts": sequence(_failsafe),
        "failsafeOutboundHostPorts": sequence(_failsafe),
        **{name: single(read) for name, (_setting, read) in _SETTINGS.items()},
        **{name: _only_default(name) for name in _AS_HERE},
        **dict.fromkeys(IGNORED, ignored),
    }
)


def check(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> None:
    """Refuse a name that is nobody's, and two masks for the one that a host has."""
    name = metadata.get("name")
    if name is not None and name != FELIX_DEFAULT and not name.startswith(FELIX_NODE):
        where.within("metadata", "name").refuse(
            f"found {shown(name)}, allowed: {FELIX_DEFAULT}, or {FELIX_NODE}<name of a host>"
        )
    masks = [spec[key] for key in ("iptablesMarkMask", "nftablesMarkMask") if key in spec]
    if len(set(masks)) > 1:
        where.within("spec", "nftablesMarkMask").refuse(
            f"found {masks[1]:#x}, but iptablesMarkMask is {masks[0]:#x}; a host has one mask: "
            "write the same, or one of them"
        )


def build(metadata: Mapping[str, t.Any], spec: Mapping[str, t.Any], where: Where) -> FelixConfiguration:
    """The value of a FelixConfiguration whose parts have been read."""
    return FelixConfiguration(
        name=metadata["name"],
        inbound=_tuple_or_none(spec.get("failsafeInboundHostPorts")),
        outbound=_tuple_or_none(spec.get("failsafeOutboundHostPorts")),
        settings={setting: spec[key] for key, (setting, _read) in _SETTINGS.items() if key in spec},
        ignored={key: IGNORED[key] for key in spec if key in IGNORED},
        place=where.place,
    )


def _tuple_or_none(members: list[model.Failsafe] | None) -> tuple[model.Failsafe, ...] | None:
    return None if members is None else tuple(members)
