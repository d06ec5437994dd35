"""A site file while it is being judged: its keys read one by one, and which of them mean nothing."""

import msgspec

from controller.model import Profile, Site


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A site whose keys were read one by one. Where wrong names a path, the value there means nothing."""

    site: Site
    profiles: dict[str, Profile]
    wrong: tuple[str, ...]

    def good(self, *paths: str) -> bool:
        """Tell whether none of these keys, nor a table they lie in, has a problem of its own."""
        return not any(
            path == wrong or path.startswith((f"{wrong}.", f"{wrong}[")) for path in paths for wrong in self.wrong
        )

    def profile(self, device: str) -> Profile | None:
        """Return the profile of the device of that name, None where one of the two is not known."""
        profiles = (self.profiles.get(row.profile) for row in self.site.device if row.name == device)
        return next((profile for profile in profiles if profile is not None), None)

    def kind(self, device: str) -> str:
        """Return "inverter", "meter", "battery" or "inputs" for a device's name, "" when it is not known."""
        profile = self.profile(device)
        return "" if profile is None else profile.kind
