"""The application: registration, sign-in for a pair of tokens, and reads of users."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpRequest, JsonResponse
from django.urls import path
from rest_framework import generics, permissions, serializers
from rest_framework_simplejwt.views import TokenObtainPairView

from benchmarks.peers.agreed import READY


class UserSerializer(serializers.ModelSerializer):
    """An account as it is answered, and as it is registered."""

    class Meta:
        """Of the columns of the framework's own model."""

        model = User
        fields = (
            "id",
            "username",
            "email",
            "first_name",
            "last_name",
            "is_active",
            "is_staff",
            "date_joined",
            "password",
        )
        read_only_fields = ("is_active", "is_staff", "date_joined")
        extra_kwargs = {"password": {"write_only": True}}  # noqa: RUF012 - the framework reads it so

    def create(self, validated_data: dict[str, str]) -> User:
        """Hash the password as the framework does by default."""
        return User.objects.create_user(**validated_data)


class Registration(generics.CreateAPIView):
    """Makes an account for anyone."""

    serializer_class = UserSerializer
    permission_classes = (permissions.AllowAny,)
    authentication_classes = ()


class Me(generics.RetrieveAPIView):
    """Answers whose token it is."""

    serializer_class = UserSerializer
    permission_classes = (permissions.IsAuthenticated,)

    def get_object(self) -> User:
        """Return who was authenticated."""
        return self.request.user


class OneUser(generics.RetrieveAPIView):
    """Answers any account to an administrator."""

    queryset = User.objects.all()
    serializer_class = UserSerializer
    permission_classes = (permissions.IsAdminUser,)


class Users(generics.ListAPIView):
    """Answers a page of accounts to an administrator."""

    queryset = User.objects.order_by("id")
    serializer_class = UserSerializer
    permission_classes = (permissions.IsAdminUser,)


def ready(_: HttpRequest) -> JsonResponse:
    """Say that the application is up."""
    return JsonResponse({})


urlpatterns = [
    path("auth/register", Registration.as_view()),
    path("auth/login", TokenObtainPairView.as_view()),
    path("users/me", Me.as_view()),
    path("users/<int:pk>", OneUser.as_view()),
    path("users", Users.as_view()),
    path(READY[1:], ready),
]
