"""What do people see? The user study of section 6.7 as a kit."""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.cladec.user_study.settings import UserStudySettings

CHAPTER = Chapter(
    "user_study", UserStudySettings, question="what do people see in it? A kit to ask them",
    judged_by="cladec_companion.papers.cladec.user_study.claims",
    handed_out_by="cladec_companion.papers.cladec.user_study.study",
    unrecorded="no experiment can show what people see: only a study with participants can, and none has been run",
    mark=(286, 108),
)  # fmt: skip
