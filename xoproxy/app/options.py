"""Settings, as each package wants them: objects receive their group, never the whole."""

from dataclasses import replace

from xoproxy.pool.client import LinkSettings
from xoproxy.sessions.messages import Limits
from xoproxy.settings import LimitsSettings, PoolLinkSettings, StorageSettings
from xoproxy.storage.history import HistoryOptions
from xoproxy.ws.connection import ConnectionLimits
from xoproxy.ws.pulse import PulseTimes


def link_settings(settings: PoolLinkSettings) -> LinkSettings:
    return replace(
        LinkSettings(),
        event_timeout_s=settings.event_timeout_s,
        event_slack_s=settings.event_slack_s,
        connect_timeout_s=settings.connect_timeout_s,
        request_timeout_s=settings.request_timeout_s,
        backoff_min_s=settings.backoff_min_s,
        backoff_max_s=settings.backoff_max_s,
        audit_s=settings.audit_s,
        calls=settings.calls,
        reply_bytes=settings.reply_bytes,
        messages_kept=settings.messages_kept,
    )


def history_options(settings: StorageSettings) -> HistoryOptions:
    return HistoryOptions(
        total_bytes=settings.history_bytes,
        checkpoint_bytes=settings.checkpoint_log_bytes,
        checkpoint_interval_s=settings.checkpoint_interval_s,
    )


def connection_limits(limits: LimitsSettings) -> ConnectionLimits:
    return ConnectionLimits(
        message=Limits(
            message_bytes=limits.message_bytes,
            subscriptions=limits.subscriptions,
            views=limits.views,
            frame_bytes=limits.frame_bytes,
            calls=limits.calls_per_session,
        ),
        sessions=limits.sessions,
        auth_timeout_s=limits.auth_timeout_s,
        notsent_bytes=limits.notsent_lowat_bytes,
    )


def pulse_times(limits: LimitsSettings) -> PulseTimes:
    return PulseTimes(
        ping_interval_s=limits.ping_interval_s,
        pong_timeout_s=limits.pong_timeout_s,
        stalled_close_s=limits.stalled_close_s,
        bookmark_interval_s=limits.bookmark_interval_s,
    )
