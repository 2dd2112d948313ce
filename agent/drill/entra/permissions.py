"""The permissions of Microsoft Graph that the simulated tenant's app has at first: what monitoring may use, no more.

Names are those of Microsoft's page "Microsoft Graph permissions reference".
"""

_APPLICATION = """
    Calendars.Read Calendars.ReadWrite
    AuditLogsQuery-Entra.Read.All Channel.Create Channel.Delete.All Channel.ReadBasic.All ChannelMember.Read.All
    ChannelMessage.Read.All Chat.Create Chat.Read.All Chat.ReadBasic.All Chat.ManageDeletion.All ChatMember.ReadWrite.All
    ChatMember.Read.All ChatMessage.Read.All Directory.Read.All Files.Read.All Files.ReadWrite.All Group.Read.All GroupMember.Read.All
    Mail.Read Mail.ReadBasic.All Mail.ReadWrite Mail.Send MailboxSettings.Read OnlineMeetings.Read.All OnlineMeetings.ReadWrite.All
    Organization.Read.All Presence.Read.All RecordsManagement.Read.All SecurityAlert.Read.All SecurityEvents.Read.All
    SecurityIncident.Read.All SensitivityLabel.Read SensitivityLabels.Read.All ServiceHealth.Read.All ServiceMessage.Read.All
    Sites.Read.All Sites.ReadWrite.All Team.ReadBasic.All TeamMember.Read.All TeamMember.ReadWrite.All
    TeamMember.ReadWriteNonOwnerRole.All TeamSettings.Read.All ThreatHunting.Read.All User.Read.All eDiscovery.Read.All
    Application.Read.All
    """
APPLICATION = frozenset(_APPLICATION.split())

_DELEGATED = """
    Calendars.Read Calendars.ReadWrite
    Channel.ReadBasic.All ChannelMessage.Read.All ChannelMessage.Send Chat.Create Chat.Read Chat.ReadBasic Chat.ReadWrite
    ChatMember.Read ChatMember.ReadWrite ChatMessage.Read ChatMessage.Send Files.Read Files.Read.All Files.ReadWrite Files.ReadWrite.All
    Group.Read.All Mail.Read Mail.ReadWrite Mail.Send OnlineMeetings.Read OnlineMeetings.ReadWrite Organization.Read.All Presence.Read
    Presence.Read.All Presence.ReadWrite RecordsManagement.Read.All ServiceHealth.Read.All ServiceMessage.Read.All Sites.Read.All
    Sites.ReadWrite.All Team.ReadBasic.All TeamMember.Read.All TeamMember.ReadWrite.All User.Read User.Read.All User.ReadBasic.All
    """
DELEGATED = frozenset(_DELEGATED.split())
